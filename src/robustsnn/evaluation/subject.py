"""A network under audit: the audit's attacks and their progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Cost, Outcome, Target, attempt, correct
from robustsnn.evaluation.member import Member
from robustsnn.names import Rule
from robustsnn.seeds import image_seeds
from robustsnn.types import Attack, GradientPath, Threat

GRADIENT = 3
"""Cost of a pass with a gradient, in passes without one."""


def work(attack: Attack) -> int:
    """Return the maximum cost of an attack per image, in forward passes, including the judge's.

    >>> from robustsnn.attacks import PGD, UniformNoise
    >>> work(PGD(steps=20, restarts=5)), work(UniformNoise(draws=2))
    (400, 2)
    """
    one = getattr(attack, "queries", 0) or getattr(attack, "draws", 0) or (GRADIENT + 1) * getattr(attack, "steps", 1)
    return int(one * getattr(attack, "restarts", 1))


@dataclass
class Told(Cost):
    """A cost that calls ``on_pass`` on every forward pass."""

    on_pass: Callable[[], None] = lambda: None

    def watch(self, view: nn.Module) -> nn.Module:
        watched = super().watch(view)
        watched.register_forward_pre_hook(lambda _, __: self.on_pass())
        return watched

    @property
    def work(self) -> int:
        """The cost so far, in passes without a gradient."""
        return GRADIENT * self.gradients + self.queries


@dataclass
class Subject:
    """A network under audit, with the images that it classifies correctly.

    Arguments:
        target, images, path, threat, seed: the attacked network, its images, the default gradient path and threat, the seed.
        on_share: called with the completed fraction of the work, from 0 to 1, whenever it grows by 0.01 or more.
        whole: upper bound of the total `work`.
    """

    target: Target
    images: Samples
    path: GradientPath
    threat: Threat
    seed: int
    on_share: Callable[[float], None] = lambda share: None
    whole: float = 1.0
    cost: Told = field(default_factory=Told)
    done: float = 0.0
    told: float = 0.0

    def __post_init__(self) -> None:
        self.view, right = self.target.judged, correct(self.target, self.images)
        self.x, self.y = right.batch(torch.arange(len(right), device=right.labels.device))
        self.ids = right.ids

    def expect(self, attacks: Iterable[Attack]) -> None:
        """Set the total work: each of these attacks once."""
        self.whole = sum(map(work, attacks))

    def broken(
        self,
        attack: Attack,
        among: Tensor | None = None,
        *,
        rule: Rule = "any",
        path: GradientPath | None = None,
        threat: Threat | None = None,
    ) -> Tensor:
        """Return which correctly classified images an attack breaks, among those in ``among`` (None: all); ``path`` and
        ``threat`` override the subject's."""
        found = torch.zeros_like(self.y, dtype=torch.bool)
        index = found.logical_not().nonzero().flatten() if among is None else among.nonzero().flatten()
        if len(index):
            found[index] = self._attempt(Member(attack, threat or self.threat, path or self.path), index, rule).broken
        self._finished(attack)
        return found

    def loss(self, attack: Attack) -> float:
        """Return the mean cross-entropy of an attack's result."""
        everyone = torch.arange(len(self.y), device=self.y.device)
        adv = self._attempt(Member(attack, self.threat, self.path), everyone, "last").adv
        self._finished(attack)
        with torch.no_grad():
            return float(F.cross_entropy(self.view(adv), self.y))

    def _attempt(self, member: Member, index: Tensor, rule: Rule) -> Outcome:
        before, most = self.cost.work, work(member.attack)
        self.cost.on_pass = lambda: self.tell(self.done + min(most, (self.cost.work - before) / len(index)))
        seeds = image_seeds(self.ids[index], self.seed, "audit")
        return attempt(member, self.target, self.x[index], self.y[index], seeds, rule, self.cost)

    def _finished(self, attack: Attack) -> None:
        self.done += work(attack)
        self.tell(self.done)

    def tell(self, done: float) -> None:
        """Report the completed work."""
        share = min(1.0, done / self.whole)
        if share >= self.told + 0.01 or share == 1 > self.told:
            self.told = share
            self.on_share(share)
