"""The worst case: members run one after the other on the images that still survive, and are never believed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.conversion import folded
from robustsnn.data import Samples
from robustsnn.evaluation.member import Member
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST
from robustsnn.names import Rule
from robustsnn.seeds import given, image_seeds
from robustsnn.types import Randomness


@dataclass
class Cost:
    """What attacks have asked of networks, in images: passes with a gradient, and passes without one; how far beyond ball or
    box their results were before they were clipped, where a pixel that is no finite number counts as 1; how long they took."""

    gradients: int = 0
    queries: int = 0
    excess: float = 0.0
    seconds: float = 0.0

    def watch(self, view: nn.Module) -> nn.Module:
        """The view, whose forward passes are counted from now on."""

        def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if torch.is_grad_enabled():
                self.gradients += len(inputs[0])
            else:
                self.queries += len(inputs[0])

        view.register_forward_pre_hook(count)
        return view


@dataclass(frozen=True)
class Target:
    """A network under attack, both views in eval mode: ``judged`` tells what breaks it, ``guide`` is what attacks follow."""

    judged: nn.Module
    guide: nn.Module

    @staticmethod
    def of(net: nn.Module) -> Target:
        return Target(view(net).eval(), folded(net))


@torch.no_grad()
def wrong(view: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which samples ``[N, ...]`` a network misclassifies, ``[N]``; logits that are not numbers name no class."""
    logits: Tensor = view(x)
    return (logits.argmax(1) != y) | logits.isnan().any(1)


def correct(target: Target, samples: Samples) -> Samples:
    """Those that a network classifies correctly: no attack is asked of the others."""
    x, y, _ = next(samples.batches(max(1, len(samples))))
    return samples.take((~wrong(target.judged, x, y)).to(samples.labels.device).nonzero().flatten())


def attempt(
    member: Member, target: Target, x: Tensor, y: Tensor, seeds: Tensor, rule: Rule, cost: Cost | None = None
) -> tuple[Tensor, Tensor]:
    """Let one member attack images that are classified correctly.

    Judging is done here, on the network's own forward pass in float32, on images projected once more onto the
    member's threat.

    Arguments:
        target: the attacked network.
        seeds: one per image, ``[N]``, of which the member derives its own.
        rule: ``"any"`` judges every iterate of the attack, ``"last"`` the one it returns.
        cost: what grows by the passes that the attack and the judge ask for.

    Returns:
        ``x_adv [N, ...]``, within the threat, and whether each of them is misclassified, ``[N]``.
    """
    cost, started = cost or Cost(), time.perf_counter()
    judged = cost.watch(view(target.judged))

    def judge(images: Tensor, index: Tensor) -> Tensor:
        return wrong(judged, images, y[index])

    mine = image_seeds(seeds, str(member))
    guide = cost.watch(member.path(target.guide))
    adv = member.attack(guide, x.clone(), y.clone(), member.threat, rng=mine, judge=judge if rule == "any" else None)
    finite = adv.isfinite()
    inside = member.threat.project(torch.where(finite, adv, x), x)
    beyond = torch.where(finite, (adv - inside).abs(), 1.0)
    cost.excess = max(cost.excess, float(beyond.max())) if len(x) else cost.excess
    broken = wrong(judged, inside, y)
    cost.seconds += time.perf_counter() - started
    return inside, broken


def in_turn(count: int, flags: Tensor, tried: Tensor, among: Tensor, batch: int) -> Iterator[tuple[int, Tensor, float, bool]]:
    """Whose turn it is: members one after the other, each at what survives those before it, in full batches.

    Arguments:
        count: how many members there are.
        flags, tried: ``broken_by``, and how many members each image has met, ``[N]``; whoever is told of a turn takes it, and
            notes in both what came of it.
        among: the images to attack, ``[n]``.

    Yields:
        A member's number, images ``[b]``, the share of all turns before this one, and whether it is the member's last.
    """
    for number in range(count):
        alive = among[(flags[among] == ROBUST) & (tried[among] == number)]
        for done in range(0, len(alive), batch):
            share = (number + done / len(alive)) / count
            yield number, alive[done : done + batch], share, done + batch >= len(alive)


@ieee()
def worst_case(
    members: Sequence[Member],
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    rng: Randomness = None,
    rule: Rule = "any",
) -> tuple[Tensor, Tensor]:
    """Run members one after the other on the images that still survive.

    Arguments:
        members: in the order in which they run.
        net: ANN or `SpikingNetwork`; judged, and attacked, as a view in eval mode, itself untouched.
        x: images ``[N, ...]``; y: labels ``[N]``.
        rng: a generator, or one seed per image, of which each member derives its own.
        rule: ``"any"`` judges every iterate of an attack, ``"last"`` the one it returns.

    Returns:
        ``x_adv [N, ...]`` (the image that broke it, or the last one tried) and ``broken_by [N]``: index of the member that
        broke the image, -1 robust, -2 misclassified clean.
    """
    if rule not in ("any", "last"):
        raise ValueError(f"rule must be 'any' or 'last', not {rule!r}")
    target = Target.of(net)
    seeds = _seeds(rng, len(x)).to(x.device)
    broken_by = torch.where(wrong(target.judged, x, y), MISCLASSIFIED, ROBUST)
    x_adv, everyone = x.clone(), torch.arange(len(x), device=x.device)
    tried = torch.zeros_like(broken_by)
    for number, index, _, _ in in_turn(len(members), broken_by, tried, everyone, max(1, len(x))):
        x_adv[index], broken = attempt(members[number], target, x[index], y[index], seeds[index], rule)
        broken_by[index[broken]] = number
        tried[index] = number + 1
    return x_adv, broken_by


def _seeds(rng: Randomness, count: int) -> Tensor:
    rng = given(rng)
    if isinstance(rng, torch.Generator):
        return torch.randint(2**62, (count,), generator=rng, device=rng.device)
    if len(rng) != count:
        raise ValueError(f"{len(rng)} seeds were given for {count} images: give one seed per image")
    return rng
