"""The worst case: members run one after the other on the images that still survive, and are never believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

from robustsnn.attacks import FGSM
from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.conversion import bfloat16, folded
from robustsnn.evaluation.members import Member
from robustsnn.evaluation.protocols import Rule
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST
from robustsnn.evaluation.shared import SharedForward, runs
from robustsnn.seeds import given, image_seeds
from robustsnn.spiking import SpikingNetwork
from robustsnn.types import Randomness

Crafting = Literal["float32", "bfloat16"]
"""In what the convolutions and linears that attacks follow compute; judging is done in float32."""


@dataclass
class Cost:
    """What attacks have asked of networks, in images: passes with a gradient, and passes without one; and how far beyond ball
    or box their results were before they were clipped, where a pixel that is no finite number counts as 1."""

    gradients: int = 0
    queries: int = 0
    excess: float = 0.0

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
    def of(net: nn.Module, crafting: Crafting = "float32") -> Target:
        guide = folded(net)
        return Target(view(net).eval(), bfloat16(guide) if crafting == "bfloat16" else guide)


@torch.no_grad()
def wrong(view: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images ``[N, ...]`` a network misclassifies, ``[N]``."""
    predicted: Tensor = view(x).argmax(1)
    return predicted != y


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
    cost = cost or Cost()
    judged = cost.watch(view(target.judged))

    def judge(images: Tensor, index: Tensor) -> Tensor:
        return wrong(judged, images, y[index])

    mine = image_seeds(seeds, str(member))
    guide = cost.watch(member.path(target.guide))
    adv = member.attack(guide, x.clone(), y.clone(), member.threat, rng=mine, judge=judge if rule == "any" else None)
    return _judged(member, adv, judged, x, y, cost)


def _judged(member: Member, adv: Tensor, judged: nn.Module, x: Tensor, y: Tensor, cost: Cost) -> tuple[Tensor, Tensor]:
    """What an attack returned, projected onto the threat, and whether it is misclassified."""
    finite = adv.isfinite()
    inside = member.threat.project(torch.where(finite, adv, x), x)
    beyond = torch.where(finite, (adv - inside).abs(), 1.0)
    cost.excess = max(cost.excess, float(beyond.max())) if len(x) else cost.excess
    return inside, wrong(judged, inside, y)


def attempts(
    run: Sequence[Member], target: Target, x: Tensor, y: Tensor, seeds: Tensor, rule: Rule, costs: Sequence[Cost]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Let members that stand together in `shared.runs` attack, one after the other, what survives those before.

    Yields:
        For each member, while any image survives: the images it attacked, and what `attempt` returns for these.
    """
    alive = torch.arange(len(x), device=x.device)
    if len(run) == 1 or not isinstance(target.guide, SpikingNetwork):
        for member, cost in zip(run, costs, strict=True):
            if len(alive):
                inside, broken = attempt(member, target, x[alive], y[alive], seeds[alive], rule, cost)
                yield alive, inside, broken
                alive = alive[~broken]
        return
    views = [member.path(target.guide) for member in run]
    number = 0
    while number < len(run) and len(alive):
        attack, threat, graph = run[number].attack, run[number].threat, alive
        assert isinstance(attack, FGSM)
        losses = attack.goal.on(target.guide, x[graph], y[graph])
        for gradient in SharedForward(views[number:]).gradients(x[graph], losses):
            left = len(run) - number
            if len(alive) * (left + 1) < len(graph) * left:
                break  # a forward pass of these alone costs less than gradients of the others that no one needs
            member, cost, start = run[number], costs[number], x[alive]
            judged = cost.watch(view(target.judged))
            adv = attack.step(start, gradient[torch.isin(graph, alive)], threat)
            cost.gradients += len(alive)
            inside, broken = _judged(member, adv, judged, start, y[alive], cost)
            yield alive, inside, broken
            alive = alive[~broken]
            number += 1


@ieee()
def worst_case(
    members: Sequence[Member],
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    rng: Randomness = None,
    rule: Rule = "any",
    on_member: Callable[[int, int], None] = lambda member, survivors: None,
) -> tuple[Tensor, Tensor]:
    """Run members one after the other on the images that still survive.

    Arguments:
        members: in the order in which they run.
        net: ANN or `SpikingNetwork`; judged, and attacked, as a view in eval mode, itself untouched.
        x: images ``[N, ...]``; y: labels ``[N]``.
        rng: a generator, or one seed per image, of which each member derives its own.
        rule: ``"any"`` judges every iterate of an attack, ``"last"`` the one it returns.
        on_member: told each member's index and how many images survive it.

    Returns:
        ``x_adv [N, ...]`` (the image that broke it, or the last one tried) and ``broken_by [N]``: index of the member that
        broke the image, -1 robust, -2 misclassified clean.
    """
    if rule not in ("any", "last"):
        raise ValueError(f"rule must be 'any' or 'last', not {rule!r}")
    target = Target.of(net)
    seeds = _seeds(rng, len(x)).to(x.device)
    broken_by = torch.where(wrong(target.judged, x, y), MISCLASSIFIED, ROBUST)
    x_adv = x.clone()
    number = 0
    for run in runs(members):
        alive = (broken_by == ROBUST).nonzero().flatten()
        costs = [Cost() for _ in run]
        found = attempts(run, target, x[alive], y[alive], seeds[alive], rule, costs) if len(alive) else iter(())
        for _ in run:
            for index, adv, broken in islice(found, 1):  # nothing, if nothing survives
                x_adv[alive[index]] = adv
                broken_by[alive[index[broken]]] = number
            on_member(number, int((broken_by == ROBUST).sum()))
            number += 1
    return x_adv, broken_by


def _seeds(rng: Randomness, count: int) -> Tensor:
    rng = given(rng)
    if isinstance(rng, torch.Generator):
        return torch.randint(2**62, (count,), generator=rng, device=rng.device)
    if len(rng) != count:
        raise ValueError(f"{len(rng)} seeds were given for {count} images: give one seed per image")
    return rng
