"""The worst case: members attack the surviving images in turn, and every result is judged independently."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustsnn.attacks.goals import hopeless
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


class Verdict(NamedTuple):
    """Which samples are misclassified ``[N]``, and their margins ``max_{i != y} z_i - z_y [N]``, ∞ for NaN logits."""

    wrong: Tensor
    margin: Tensor


@torch.no_grad()
def judge(view: nn.Module, x: Tensor, y: Tensor) -> Verdict:
    """Judge samples ``[N, ...]`` by a network's logits; NaN logits count as misclassified."""
    logits: Tensor = view(x)
    nan, classes = logits.isnan().any(1), y[:, None]
    margin = logits.scatter(1, classes, -torch.inf).amax(1) - logits.gather(1, classes)[:, 0]
    return Verdict((logits.argmax(1) != y) | nan, margin.float().masked_fill(nan, torch.inf))


def correct(target: Target, samples: Samples) -> Samples:
    """Return the samples that a network classifies correctly; only these are attacked."""
    x, y, _ = next(samples.batches(max(1, len(samples))))
    return samples.take((~judge(target.judged, x, y).wrong).to(samples.labels.device).nonzero().flatten())


class Outcome(NamedTuple):
    """What a member did to samples.

    Arguments:
        adv: the results, ``[N, ...]``, within the threat.
        broken: whether they are misclassified, ``[N]``.
        margin: the largest margin of all judged iterates, ``[N]``, see `Verdict`.
    """

    adv: Tensor
    broken: Tensor
    margin: Tensor


def attempt(
    member: Member, target: Target, x: Tensor, y: Tensor, seeds: Tensor, rule: Rule, cost: Cost | None = None
) -> Outcome:
    """Attack correctly classified images with one member.

    The result is projected onto the threat once more, then judged by the network's own float32 forward pass.

    Arguments:
        target: the attacked network.
        seeds: one seed per image, ``[N]``, from which the member derives its own.
        rule: ``"any"`` judges every iterate of the attack, ``"last"`` only the returned one.
        cost: the passes of attack and judge are added to it.
    """
    cost, started = cost or Cost(), time.perf_counter()
    judged, margin = cost.watch(view(target.judged)), torch.full_like(y, -torch.inf, dtype=torch.float32)

    def look(samples: Tensor, index: Tensor) -> Tensor:
        wrong, reached = judge(judged, samples, y[index])
        margin[index] = torch.maximum(margin[index], reached)
        return wrong

    mine = image_seeds(seeds, str(member))
    guide = cost.watch(member.path(target.guide))
    adv = member.attack(guide, x.clone(), y.clone(), member.threat, rng=mine, judge=look if rule == "any" else None)
    finite = adv.isfinite()
    inside = member.threat.project(torch.where(finite, adv, x), x)
    beyond = torch.where(finite, (adv - inside).abs(), 1.0)
    cost.excess = max(cost.excess, float(beyond.max())) if len(x) else cost.excess
    broken = look(inside, torch.arange(len(x), device=x.device))
    cost.seconds += time.perf_counter() - started
    return Outcome(inside, broken, margin)


@dataclass
class Progress:
    """What the members have found so far.

    Arguments:
        flags: ``broken_by``, ``[N]``.
        clean, margin: margins without an attack, and the largest ones so far, ``[N]``, see `Verdict`.
        tried: number of members that attacked each sample or gave it up, ``[N]``.
        costs: cost of each member so far, in this process.
    """

    flags: Tensor
    clean: Tensor
    margin: Tensor
    tried: Tensor
    costs: list[Cost]

    @classmethod
    def begin(cls, flags: Tensor, clean: Tensor, members: int) -> Progress:
        """Start an ensemble; ``flags`` holds the samples that are broken already."""
        return cls(flags.clone(), clean, clean.clone(), torch.zeros_like(flags), [Cost() for _ in range(members)])

    def note(self, number: int, index: Tensor, outcome: Outcome) -> None:
        """Record what a member did to the samples ``index``."""
        device = self.flags.device
        self.flags[index[outcome.broken.to(device)]] = number
        self.margin[index] = torch.maximum(self.margin[index], outcome.margin.to(device))
        self.tried[index] = number + 1

    def left(self, number: int, give_up: float, team: Team) -> Tensor:
        """Return the samples that a member attacks, ``[n]``, in all processes; it gives up those whose margin has stayed
        below this share of the clean one."""
        team.join(self.flags, self.tried, self.margin)
        alive = (self.flags == ROBUST) & (self.tried == number)
        near = alive & ~hopeless(self.margin, self.clean, give_up)
        self.tried[alive & ~near] = number + 1
        return near.nonzero().flatten()


Turn = tuple[int, Tensor, tuple[float, float], bool]
"""A member's number, images ``[b]``, the fraction of the work done before and after the turn, and whether it is the member's
last turn."""


def in_turn(members: Sequence[Member], found: Progress, batch: int, team: Team) -> Iterator[Turn]:
    """Schedule the attacks: members run in order, each in full batches on the images that survived the previous members.

    Before every member, the processes exchange what they found and share out the survivors anew.

    Arguments:
        found: the caller must note every turn in it. It holds the findings of all processes at the end.
    """
    for number, member in enumerate(members):
        alive = found.left(number, member.give_up, team)[team.rank :: team.size]
        for done in range(0, len(alive), batch):
            before, after = ((number + min(1.0, n / len(alive))) / len(members) for n in (done, done + batch))
            yield number, alive[done : done + batch], (before, after), done + batch >= len(alive)
    found.left(len(members), 1.0, team)


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
    missed, clean = judge(target.judged, x, y)
    x_adv, found = x.clone(), Progress.begin(torch.where(missed, MISCLASSIFIED, ROBUST), clean, len(members))
    for number, index, _, _ in in_turn(members, found, max(1, len(x)), Team()):
        outcome = attempt(members[number], target, x[index], y[index], seeds[index], rule)
        x_adv[index] = outcome.adv
        found.note(number, index, outcome)
    return x_adv, found.flags


def _seeds(rng: Randomness, count: int) -> Tensor:
    rng = given(rng)
    if isinstance(rng, torch.Generator):
        return torch.randint(2**62, (count,), generator=rng, device=rng.device)
    if len(rng) != count:
        raise ValueError(f"{len(rng)} seeds for {count} images: pass one seed per image")
    return rng
