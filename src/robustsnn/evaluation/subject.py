"""A network under audit: what the audit's attacks break, and how far the audit has got."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Cost, Target, attempt, correct
from robustsnn.evaluation.member import Member
from robustsnn.names import Rule
from robustsnn.seeds import image_seeds
from robustsnn.types import Attack, GradientPath, Threat

GRADIENT = 3
"""What a pass with a gradient costs, in passes without one."""


def work(attack: Attack) -> int:
    """What an attack costs an image at most, in forward passes, its iterates being judged.

    >>> from robustsnn.attacks import PGD, UniformNoise
    >>> work(PGD(steps=20, restarts=5)), work(UniformNoise(draws=2))
    (400, 2)
    """
    one = getattr(attack, "queries", 0) or getattr(attack, "draws", 0) or (GRADIENT + 1) * getattr(attack, "steps", 1)
    return int(one * getattr(attack, "restarts", 1))


@dataclass
class _Told(Cost):
    """A cost that says when it has grown."""

    on_pass: Callable[[], None] = lambda: None

    def watch(self, view: nn.Module) -> nn.Module:
        watched = super().watch(view)
        watched.register_forward_pre_hook(lambda _, __: self.on_pass())
        return watched

    @property
    def work(self) -> int:
        """All passes so far, in those without a gradient."""
        return GRADIENT * self.gradients + self.queries


@dataclass
class Subject:
    """A network under audit: the images it classifies correctly, and along which path it is attacked.

    Arguments:
        target, images, path, threat, seed: what is attacked, where, how and how far.
        on_share: told the share of the whole work done, from 0 to 1, whenever that is a hundredth more; an image that breaks
            early saves the rest.
        whole: how much `work` there is to do, at most.
    """

    target: Target
    images: Samples
    path: GradientPath
    threat: Threat
    seed: int
    on_share: Callable[[float], None] = lambda share: None
    whole: float = 1.0
    cost: _Told = field(default_factory=_Told)
    done: float = 0.0
    told: float = 0.0

    def __post_init__(self) -> None:
        self.view, right = self.target.judged, correct(self.target, self.images)
        self.x, self.y = right.batch(torch.arange(len(right), device=right.labels.device))
        self.ids = right.ids

    def expect(self, attacks: Iterable[Attack]) -> None:
        """These attacks, each tried once, are the whole work."""
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
        """Which of the correctly classified images an attack breaks, tried on those ``among`` them; ``path`` and ``threat``
        take the place of the subject's, if given."""
        found = torch.zeros_like(self.y, dtype=torch.bool)
        index = found.logical_not().nonzero().flatten() if among is None else among.nonzero().flatten()
        if len(index):
            found[index] = self._attempt(Member(attack, threat or self.threat, path or self.path), index, rule)[1]
        self._finished(attack)
        return found

    def loss(self, attack: Attack) -> float:
        """Mean cross-entropy of what an attack returns."""
        everyone = torch.arange(len(self.y), device=self.y.device)
        adv, _ = self._attempt(Member(attack, self.threat, self.path), everyone, "last")
        self._finished(attack)
        with torch.no_grad():
            return float(F.cross_entropy(self.view(adv), self.y))

    def _attempt(self, member: Member, index: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        before, most = self.cost.work, work(member.attack)
        self.cost.on_pass = lambda: self.tell(self.done + min(most, (self.cost.work - before) / len(index)))
        seeds = image_seeds(self.ids[index], self.seed, "audit")
        return attempt(member, self.target, self.x[index], self.y[index], seeds, rule, self.cost)

    def _finished(self, attack: Attack) -> None:
        self.done += work(attack)
        self.tell(self.done)

    def tell(self, done: float) -> None:
        """So much work is done."""
        share = min(1.0, done / self.whole)
        if share >= self.told + 0.01 or share == 1 > self.told:
            self.told = share
            self.on_share(share)
