"""Attacks again what `rigorous` leaves of the digits network of version 0.1, by other means and seeds: benchmarks/refute.json.

python -m benchmarks.refute
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn import checkpoint
from robustsnn.attacks import APGD, DLR, NES, PGD, SAPGD, Square, TargetedAPGD
from robustsnn.attacks.goals import CrossEntropy, Losses
from robustsnn.attacks.gradient import ascend, input_gradient
from robustsnn.data import Samples, digits
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS, ROBUST, Audit, Group, Member, Protocol, Strongest, evaluate
from robustsnn.evaluation.ensemble import Cost, Target, attempt
from robustsnn.seeds import image_seeds, noise, portion
from robustsnn.spiking import (
    Adaptive,
    Exponential,
    Hybrid,
    Plain,
    PotentialDependent,
    RateApproximation,
    Surrogate,
    Triangle,
)
from robustsnn.threats import Ball, Linf
from robustsnn.types import Classifier, Judge, Randomness, Threat

OUT = Path(__file__).with_name("refute.json")
NETWORK = Path(__file__).with_name("refuted.safetensors")
"""The digits network of version 0.1, whose figure independent attackers refuted."""
RADII, IMAGES, FRESH = (0.1, 0.15), 200, 20_261


def patient(protocol: Protocol) -> Protocol:
    """The same with searches that give up no image."""
    ensembles = {name: tuple(_patient(group) for group in groups) for name, groups in protocol.ensembles.items()}
    return replace(protocol, ensembles=ensembles)


def _patient(group: Group) -> Group:
    return replace(group, attack=replace(group.attack, give_up=1.0)) if isinstance(group.attack, NES | Square) else group


EDITIONS = {
    1: Protocol(
        {
            "rigorous": (
                Group("PGD-20", PGD(steps=20), PUBLISHED_PATHS),
                Group("APGD-CE-20", APGD(steps=20), PUBLISHED_PATHS),
                Group("APGD-CE-50", APGD(steps=50), (Hybrid(), RateApproximation(), PotentialDependent())),
                Group("APGD-DLR-50", APGD(steps=50, goal=DLR()), (Strongest(3),)),
                Group("APGD-T-20", TargetedAPGD(steps=20), (Strongest(3),)),
                Group("SA-PGD-100", SAPGD(steps=100), tuple(Adaptive(a) for a in (0.41, 0.42, 0.43, 0.44, 0.45))),
                Group("Square-5000", Square(queries=5000), (Plain(),)),
            )
        },
        "any",
        ranked=True,
    ),
    2: patient(PROTOCOLS["rigorous"]),
    3: PROTOCOLS["rigorous"],
}
"""`rigorous` as it was, twice, and as it is."""

BOUNDS = {0.1: 110, 0.15: 76}
"""So many of the images can be left at most: the others were broken by somebody."""

SHARP = Surrogate(Exponential(0.3, 2.0))


@dataclass(frozen=True)
class Averaged:
    """PGD along the mean gradient of noisy copies (expectation over noise of ``0.3 eps``)."""

    follows = (Ball,)
    steps: int = 50
    samples: int = 16

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Tensor:
        number = iter(range(self.steps))

        def slope(model: Classifier, adv: Tensor, losses: Losses, index: Tensor) -> Tensor:
            drawn = noise(portion(rng, index, "noise", next(number)))
            copies = [adv + 0.3 * threat.eps * drawn.normal(adv) for _ in range(self.samples)]
            return torch.stack([input_gradient(model, copy, losses, index) for copy in copies]).mean(0)

        start, losses = threat.sample(x, noise(rng)), CrossEntropy().on(model, x, y)
        size = 2.5 * threat.eps / self.steps
        return ascend(model, x, losses, threat=threat, start=start, step=size, steps=self.steps, judge=judge, gradient=slope)


@dataclass(frozen=True)
class CornerSearch:
    """Flips of single pixels between corners of the ball, kept where the margin falls, and random kicks where none does."""

    follows = (Linf,)
    kicks: int = 3
    share: float = 0.1

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Tensor:
        drawn = noise(rng)
        signs = torch.where(drawn.uniform(x) < 0.5, -1.0, 1.0)
        low, high = threat.project(x - threat.eps, x), threat.project(x + threat.eps, x)
        kicks = [drawn.uniform(x) < self.share for _ in range(self.kicks)]
        adv = x.clone()
        for i in range(len(x)):
            adv[i] = self._search(model, low[i], high[i], y[i], signs[i] > 0, [kick[i] for kick in kicks])
        if judge is not None:
            judge(adv, torch.arange(len(x)))
        return adv

    def _search(self, model: Classifier, low: Tensor, high: Tensor, y: Tensor, up: Tensor, kicks: list[Tensor]) -> Tensor:
        flips = torch.eye(up.numel(), dtype=torch.bool).view(-1, *up.shape)
        best, most = up, -torch.inf
        for kick in (torch.zeros_like(up), *kicks):
            now, margin = best ^ kick, -torch.inf
            while True:
                choices = torch.cat([now[None], now ^ flips])
                logits = model(torch.where(choices, high, low))
                margins = logits.index_fill(1, y[None], -torch.inf).amax(1) - logits[:, y]
                if float(margins.max()) <= margin:
                    break
                now, margin = choices[margins.argmax()], float(margins.max())
            if margin > most:
                best, most = now, margin
            if most > 0:
                break
        return torch.where(best, high, low)


def attacks(eps: float) -> Iterator[tuple[str, Member]]:
    """What is tried, by name."""
    near = Linf(eps)
    yield "NES-10000", Member(NES(), near, Plain())
    yield "corner search", Member(CornerSearch(), near, Plain())
    yield "expectation over noise", Member(Averaged(), near, SHARP)
    yield "targeted, 9 classes x 200", Member(TargetedAPGD(200, 9), near, SHARP)
    yield "SA-PGD-100 x 5", Member(SAPGD(restarts=5), near, Adaptive(0.43))
    yield "APGD-CE-100", Member(APGD(), near, Surrogate(Triangle(1.0)))


def foreign(eps: float) -> Iterator[tuple[str, Callable[[nn.Module, Tensor, Tensor], Any]]]:
    """Attacks of other libraries along Triangle(1), as far as they are installed."""
    try:
        import foolbox
    except ImportError:
        pass
    else:

        def run(attack: Any) -> Callable[[nn.Module, Tensor, Tensor], Any]:
            return lambda view, x, y: attack(foolbox.PyTorchModel(view, (0, 1), device="cpu"), x, y, epsilons=eps)

        yield "foolbox PGD-100", run(foolbox.attacks.LinfPGD(steps=100))
        yield "foolbox HopSkipJump", run(foolbox.attacks.HopSkipJumpAttack(steps=10, constraint="linf"))
    try:
        import torchattacks
    except ImportError:
        pass
    else:
        yield "torchattacks AutoAttack", lambda view, x, y: torchattacks.AutoAttack(view, eps=eps, seed=FRESH)(x, y)


class Judged(nn.Module):
    """A view that looks at every image that a foreign attack asks about, and notes which images it breaks.

    An image is known by its nearest clean one, of which it must be in the ball.
    """

    def __init__(self, view: nn.Module, judged: nn.Module, x: Tensor, y: Tensor, eps: float) -> None:
        super().__init__()
        self.view, self.judged, self.x, self.y, self.eps = view, judged, x, y, eps
        self.broken = torch.zeros(len(x), dtype=torch.bool)
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            seen = images.detach()
            distance = (seen[:, None] - self.x[None]).abs().flatten(2).amax(2)
            near, which = distance.min(1)
            inside = (near <= self.eps + 1e-6) & (seen.flatten(1).amin(1) >= 0) & (seen.flatten(1).amax(1) <= 1)
            wrong = self.judged(seen).argmax(1) != self.y[which]
            self.broken[which[inside & wrong]] = True
            self.asked += len(seen)
        return self.view(images)  # type: ignore[no-any-return]


def survivors(net: nn.Module, data: Samples, eps: float, protocol: Protocol) -> tuple[Tensor, dict[str, Any]]:
    """How many images a protocol leaves robust, and its cost."""
    began = time.process_time()
    result = evaluate(net, data, protocol, eps, check=Audit(images=0)).results[0]
    spent = {
        "gradients": sum(result.gradients),
        "queries": sum(result.queries),
        "processor_seconds": round(time.process_time() - began, 1),
        "broken": {name: count for name, count in zip(result.members, result.broken, strict=True) if count},
    }
    return (torch.tensor(result.broken_by) == ROBUST).nonzero().flatten(), spent


def refute(net: nn.Module, data: Samples, eps: float, protocol: Protocol) -> dict[str, Any]:
    """Every attack on what a protocol leaves, one independent of the other."""
    left, spent = survivors(net, data, eps, protocol)
    x, y = data.batch(left)
    target, found, union = Target.of(net), {}, torch.zeros(len(left), dtype=torch.bool)

    def note(name: str, broken: Tensor, began: float, cost: Cost) -> None:
        nonlocal union
        union = union | broken
        seconds = round(time.process_time() - began, 1)
        found[name] = {
            "breaks": int(broken.sum()),
            "gradients": cost.gradients,
            "queries": cost.queries,
            "processor_seconds": seconds,
        }
        print(f"{eps:g}: {name} breaks {int(broken.sum())} of {len(left)} in {seconds} s", flush=True)

    for name, member in attacks(eps):
        began, cost = time.process_time(), Cost()
        seeds = image_seeds(data.ids[left], FRESH, name)
        note(name, attempt(member, target, x, y, seeds, "any", cost).broken, began, cost)
    for name, attack in foreign(eps):
        began = time.process_time()
        view = Judged(Surrogate(Triangle(1.0))(target.guide), target.judged, x, y, eps).eval()
        torch.manual_seed(FRESH)
        attack(view, x.clone(), y.clone())
        note(name, view.broken, began, Cost(queries=view.asked))
    most = max((each["breaks"] for each in found.values()), default=0)
    return {
        "left": len(left),
        "cost": spent,
        "further": found,
        "most_by_one": most,
        "left_by_all": len(left) - int(union.sum()),
        "known_bound": BOUNDS[eps],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radii", type=float, nargs="+", choices=RADII, default=RADII)
    parser.add_argument("--editions", type=int, nargs="+", choices=EDITIONS, default=sorted(EDITIONS))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    net = checkpoint.load(NETWORK).requires_grad_(False).eval()
    told = json.loads(OUT.read_text()) if OUT.exists() else {}
    for edition, eps in product(chosen.editions, chosen.radii):
        told[f"edition {edition} at {eps:g}"] = refute(net, digits().test.first(IMAGES), eps, EDITIONS[edition])
        OUT.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
