"""The worst case: members attack the surviving images in turn, and every result is judged independently."""

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
from robustsnn.processes import Team
from robustsnn.seeds import given, image_seeds
from robustsnn.types import Randomness


@dataclass
class Cost:
    """The cost of attacks.

    Arguments:
        gradients, queries: forward passes with and without a gradient, counted in images.
        excess: how far results were outside ball or box before clipping; a non-finite pixel counts as 1.
        seconds: wall-clock time.
    """

    gradients: int = 0
    queries: int = 0
    excess: float = 0.0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        """Add another cost."""
        self.gradients += other.gradients
        self.queries += other.queries
        self.excess = max(self.excess, other.excess)
        self.seconds += other.seconds

    def watch(self, view: nn.Module) -> nn.Module:
        """Count the forward passes of a view from now on; return the view."""

        def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if torch.is_grad_enabled():
                self.gradients += len(inputs[0])
            else:
                self.queries += len(inputs[0])

        view.register_forward_pre_hook(count)
        return view


@dataclass(frozen=True)
class Target:
    """A network under attack, as two views in eval mode: ``judged`` decides what is broken, ``guide`` provides gradients."""

    judged: nn.Module
    guide: nn.Module

    @staticmethod
    def of(net: nn.Module) -> Target:
        return Target(view(net).eval(), folded(net))


@torch.no_grad()
def wrong(view: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return which samples ``[N, ...]`` a network misclassifies, ``[N]``; NaN logits count as misclassified."""
    logits: Tensor = view(x)
    return (logits.argmax(1) != y) | logits.isnan().any(1)


def correct(target: Target, samples: Samples) -> Samples:
    """Return the samples that a network classifies correctly; only these are attacked."""
    x, y, _ = next(samples.batches(max(1, len(samples))))
    return samples.take((~wrong(target.judged, x, y)).to(samples.labels.device).nonzero().flatten())


def attempt(
    member: Member, target: Target, x: Tensor, y: Tensor, seeds: Tensor, rule: Rule, cost: Cost | None = None
) -> tuple[Tensor, Tensor]:
    """Attack correctly classified images with one member.

    The result is projected onto the threat once more, then judged by the network's own float32 forward pass.

    Arguments:
        target: the attacked network.
        seeds: one seed per image, ``[N]``, from which the member derives its own.
        rule: ``"any"`` judges every iterate of the attack, ``"last"`` only the returned one.
        cost: the passes of attack and judge are added to it.

    Returns:
        ``x_adv [N, ...]`` within the threat, and whether each of them is misclassified, ``[N]``.
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


Turn = tuple[int, Tensor, tuple[float, float], bool]
"""A member's number, images ``[b]``, the fraction of the work done before and after the turn, and whether it is the member's
last turn."""


def in_turn(count: int, flags: Tensor, tried: Tensor, batch: int, team: Team) -> Iterator[Turn]:
    """Schedule the attacks: members run in order, each in full batches on the images that survived the previous members.

    Before every member, the processes exchange what they found and share out the survivors anew.

    Arguments:
        count: number of members.
        flags, tried: ``broken_by``, and the number of members that attacked each image, ``[N]``; the caller must update both
            after every turn. Both hold the findings of all processes at the end.
    """
    for number in range(count):
        team.join(flags, tried)
        alive = ((flags == ROBUST) & (tried == number)).nonzero().flatten()[team.rank :: team.size]
        for done in range(0, len(alive), batch):
            before, after = ((number + min(1.0, n / len(alive))) / count for n in (done, done + batch))
            yield number, alive[done : done + batch], (before, after), done + batch >= len(alive)
    team.join(flags, tried)


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
    """Attack images with members in turn, each on the images that survived the previous ones.

    Arguments:
        members: the members, in order.
        net: ANN or `SpikingNetwork`; it is attacked and judged as a view in eval mode and is not changed.
        x: images ``[N, ...]``.
        y: labels ``[N]``.
        rng: a generator, or one seed per image, from which each member derives its own.
        rule: ``"any"`` judges every iterate of an attack, ``"last"`` only the returned one.

    Returns:
        ``x_adv [N, ...]``, the misclassified image or the last one tried, and ``broken_by [N]``: the index of the member that
        broke the image, -1 if robust, -2 if misclassified without an attack.
    """
    if rule not in ("any", "last"):
        raise ValueError(f"rule must be 'any' or 'last', not {rule!r}")
    target = Target.of(net)
    seeds = _seeds(rng, len(x)).to(x.device)
    broken_by = torch.where(wrong(target.judged, x, y), MISCLASSIFIED, ROBUST)
    x_adv, tried = x.clone(), torch.zeros_like(broken_by)
    for number, index, _, _ in in_turn(len(members), broken_by, tried, max(1, len(x)), Team()):
        x_adv[index], broken = attempt(members[number], target, x[index], y[index], seeds[index], rule)
        broken_by[index[broken]] = number
        tried[index] = number + 1
    return x_adv, broken_by


def _seeds(rng: Randomness, count: int) -> Tensor:
    rng = given(rng)
    if isinstance(rng, torch.Generator):
        return torch.randint(2**62, (count,), generator=rng, device=rng.device)
    if len(rng) != count:
        raise ValueError(f"{len(rng)} seeds for {count} images: pass one seed per image")
    return rng
