"""Does the number mean anything? Checks after Athalye et al. 2018 and Carlini et al. 2019, each with figure and verdict."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import FGSM, PGD, CornerNoise, Square, UniformNoise
from robustsnn.data import Images
from robustsnn.evaluation.members import Member
from robustsnn.evaluation.protocols import Audit, Rule
from robustsnn.evaluation.results import ROBUST, Check, PathFigures, Result, Verdict, wilson
from robustsnn.evaluation.worst import Cost, Target, attempt, wrong
from robustsnn.seeds import image_seeds
from robustsnn.spiking import Plain
from robustsnn.types import Attack, GradientPath


@dataclass
class Subject:
    """A network under audit: its view, the images it classifies correctly, and along which path it is attacked."""

    net: nn.Module
    images: Images
    path: GradientPath
    eps: float
    seed: int
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        self.target = Target.of(self.net)
        self.view = self.target.judged
        x, y = self.images.batch(torch.arange(len(self.images), device=self.images.labels.device))
        self.right = ~wrong(self.view, x, y)
        self.x, self.y, self.ids = x[self.right], y[self.right], self.images.ids[self.right]

    def broken(
        self, attack: Attack, among: Tensor | None = None, *, rule: Rule = "any", path: GradientPath | None = None
    ) -> Tensor:
        """Which of the correctly classified images an attack breaks, tried on those ``among`` them; along ``path``, if any."""
        found = torch.zeros_like(self.y, dtype=torch.bool)
        index = found.logical_not().nonzero().flatten() if among is None else among.nonzero().flatten()
        if len(index):
            member = Member(attack, path or self.path)
            seeds = image_seeds(self.ids[index], self.seed, "audit")
            found[index] = attempt(member, self.target, self.x[index], self.y[index], seeds, rule, self.cost)[1]
        return found

    def loss(self, steps: int) -> float:
        """Mean cross-entropy after that many steps of PGD; 0 steps: at the random start."""
        attack: Attack = PGD(self.eps, steps) if steps else UniformNoise(self.eps, draws=1)
        seeds = image_seeds(self.ids, self.seed, "audit")
        adv, _ = attempt(Member(attack, self.path), self.target, self.x, self.y, seeds, "last", self.cost)
        with torch.no_grad():
            return float(F.cross_entropy(self.view(adv), self.y))


def audit(
    subject: Subject,
    results: Sequence[Result],
    places: Sequence[int],
    paths: dict[GradientPath, PathFigures],
    how: Audit,
    unchanged: bool,
) -> tuple[Check, ...]:
    """All checks.

    Arguments:
        subject: the network on the audit's images, attacked along its strongest path at the largest radius.
        results: what the protocol found.
        places: of the subject's correctly classified images in ``broken_by``.
        paths: what the pilot found.
        unchanged: whether the evaluation left the network as it was.
    """
    count, eps = len(subject.images), subject.eps
    if not len(subject.y):
        none = f"no audit: every one of its {count} images is misclassified clean"
        return (Check(name="accuracy", figure=0.0, verdict="warn", meaning=none),)
    largest = [result for result in results if result.eps == eps]
    survivors = torch.stack([_flags(result, places) == ROBUST for result in largest]).all(0).to(subject.y.device)
    led = torch.stack([_by_gradients(result, places) for result in largest]).any(0).to(subject.y.device)
    iterated = subject.broken(PGD(eps, 20))
    single = subject.broken(FGSM(eps), rule="last")
    noisy = subject.broken(UniformNoise(eps)) | subject.broken(CornerNoise(eps))
    white = iterated | single | led
    queried = subject.broken(Square(eps, how.queries), survivors, path=Plain()) | ~survivors & ~white
    checks = [_gradients(list(paths.values()))]
    checks.append(_losses([subject.loss(steps) for steps in (0, 1, 5, 20)]))
    added: Sequence[tuple[str, Tensor, str]] = (
        (f"PGD-{how.steps}", subject.broken(PGD(eps, how.steps), survivors), "images that a far longer run breaks as well"),
        ("restarts", subject.broken(PGD(eps, 20, restarts=5), survivors), "images that five restarts break as well"),
        ("black box", queried, "images that only queries, transfer or noise break, here or in the protocol"),
        ("single step", single & ~iterated, "images that FGSM breaks and PGD-20 does not"),
        ("noise", noisy & ~white, "images that noise breaks and gradients do not"),
    )
    checks += [_few(name, int(flags.sum()), count, meaning) for name, flags, meaning in added]
    checks.append(_sweep(subject))
    checks += _radii(results)
    checks += _interface(subject)
    excess = max([subject.cost.excess, *(far for result in results for far in result.excess)])
    inside = "how far attacks, the protocol's too, went outside ball or box before clipping; 1 for pixels that are no number"
    checks.append(Check(name="ball and box", figure=excess, verdict=_ok(excess <= 1e-6), meaning=inside))
    state = "the evaluation left parameters, buffers, and training and gradient flags of the network as they were"
    checks.append(Check(name="state", figure=float(not unchanged), verdict=_ok(unchanged), meaning=state))
    return tuple(checks)


def transfer(sources: Collection[str]) -> Check:
    """Whether a protocol that tries examples of other networks was given any."""
    if not sources:
        none = "no transfer: no source networks were given (evaluation.transfer in a recipe, sources in Python)"
        return Check(name="transfer", figure=0, verdict="warn", meaning=none)
    return Check(name="transfer", figure=len(sources), verdict="pass", meaning="networks whose examples were tried")


def _flags(result: Result, places: Sequence[int]) -> Tensor:
    return torch.tensor(result.broken_by)[list(places)]


def _by_gradients(result: Result, places: Sequence[int]) -> Tensor:
    """Which images gradients of the attacked network broke, not queries nor transfer."""
    white = [number for number, follows in enumerate(result.white_box) if follows]
    return torch.isin(_flags(result, places), torch.tensor(white, dtype=torch.int64))


def _ok(good: bool) -> Verdict:
    return "pass" if good else "fail"


def _few(name: str, hits: int, count: int, meaning: str) -> Check:
    """Passes below one point; fails where even the lower bound of the interval is above one."""
    found = wilson(hits, count)
    verdict: Verdict = "pass" if found.value < 0.01 else "fail" if found.low > 0.01 else "warn"
    return Check(name=name, figure=found.value, verdict=verdict, meaning=f"share of {meaning}")


def _gradients(paths: Sequence[PathFigures]) -> Check:
    shares = [path.zero_gradient for path in paths]
    least, middle = min(shares), statistics.median(shares)
    verdict: Verdict = "fail" if least > 0.05 else "warn" if middle > 0.25 else "pass"
    meaning = f"share of images without any gradient, on the best path (median over paths {middle:.1%})"
    return Check(name="gradients", figure=least, verdict=verdict, meaning=meaning)


def _losses(losses: Sequence[float]) -> Check:
    start, one, five, twenty = losses
    verdict: Verdict = "fail" if twenty < start + 1e-3 else "warn" if not one <= five * 1.02 <= twenty * 1.04 else "pass"
    meaning = f"rise of the loss from random start to PGD-20 (start {start:.3g}, then {one:.3g}, {five:.3g}, {twenty:.3g})"
    return Check(name="loss", figure=twenty - start, verdict=verdict, meaning=meaning)


def _sweep(subject: Subject) -> Check:
    """Robust accuracy must fall to 0 %. Here it cannot rise: each radius attacks what the one before left."""
    left, last = [], torch.ones_like(subject.y, dtype=torch.bool)
    radii = [radius / 255 for radius in (16, 32, 64, 128, 255) if radius / 255 > subject.eps]
    for radius in radii:
        broken = subject.broken(PGD(radius, 20), last)
        last = last & ~broken
        left.append(int(last.sum()))
        if not left[-1]:
            return Check(name="sweep", figure=radius, verdict="pass", meaning="radius at which PGD-20 leaves no image")
    share = left[-1] / len(subject.images) if left else 0.0
    return Check(name="sweep", figure=share, verdict=_ok(not share), meaning="share of images that survive any radius up to 1")


def _radii(results: Sequence[Result]) -> list[Check]:
    """Accuracy must not rise with the radius; nothing to check where there is one radius only."""
    attacks: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.eps):
        attacks.setdefault(result.attack, []).append(result)
    rises = [more.survivors - less.survivors for each in attacks.values() for less, more in pairwise(each)]
    meaning = "images by which accuracy rises from a radius to the next larger one, in the protocol's own results"
    return [_few("radii", max(0, *rises, 0), len(results[0].broken_by), meaning)] if rises else []


def _interface(subject: Subject) -> list[Check]:
    with torch.no_grad():
        first, second = subject.view(subject.x), subject.view(subject.x)
    gap = float((first - second).abs().max())
    sums = (first.sum(1) - 1).abs().max()
    probabilities = bool(sums < 1e-4) and bool((first >= 0).all())
    largest = float(first.abs().max())
    repeats, logits = "difference of two equal passes", "largest output; probabilities would hide gradients"
    return [
        Check(name="repeats", figure=gap, verdict=_ok(gap <= 1e-5 * max(1.0, largest)), meaning=repeats),
        Check(name="logits", figure=largest, verdict=_ok(not probabilities), meaning=logits),
    ]
