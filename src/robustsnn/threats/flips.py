"""Flips of single events: what an adversary in front of an event camera, or a noisy pixel, may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.threats.events import EventThreat
from robustsnn.threats.samplewise import per_sample, positive
from robustsnn.types import Noise, Threat


@dataclass(frozen=True)
class Flips(EventThreat):
    """Add or remove single events. In binary frames bits flip, nothing else changes.

    Arguments:
        eps: the budget: below 1 a share of each sample's events, rounded down, otherwise a number of events.
        most: largest number of events in a bin.

    >>> Flips(0.01).spelled, Flips(20).spelled
    ('1 % flips', '20 flips')
    >>> Flips(0.5).budget(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    tensor([1])
    """

    eps: float = 0.01
    words: ClassVar[str] = "flips of single events"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps >= 1 and self.eps != round(self.eps):
            raise ValueError(f"Flips takes a share below 1 or a whole number of events, not {self.eps:g}: round it")

    @property
    def axis(self) -> tuple[float, str]:
        return (100.0, "flips in % of the events") if self.eps < 1 else (1.0, "flips")

    @property
    def spelled(self) -> str:
        return f"{100 * self.eps:.3g} % flips" if self.eps < 1 else f"{self.eps:.0f} flips"

    @property
    def usual(self) -> tuple[float, ...]:
        return 0.005, 0.01, 0.02, 0.05

    def budget(self, x: Tensor) -> Tensor:
        """Return how many events of each sample may be added or removed, ``[N]``."""
        if self.eps >= 1:
            return torch.full((len(x),), int(self.eps), device=x.device)
        return (self.eps * x.flatten(1).sum(1, dtype=torch.float64) + 1e-9).floor().long()  # 0.07 * 100 is below 7

    def changed(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return how many events differ, ``[N]``."""
        return (adv - x).abs().flatten(1).sum(1).long()

    def allowed(self, adv: Tensor, x: Tensor) -> Tensor:
        return self.changed(adv, x) <= self.budget(x)

    def nearest(self, adv: Tensor, x: Tensor) -> Tensor:
        delta = adv.round().clamp(0, self.most) - x
        worth = torch.where(delta == 0, 0.0, (adv - x).abs()).flatten(1)
        return self._spend(x, worth, lambda places: delta.flatten(1).gather(1, places), self.budget(x))

    def best(self, slope: Tensor, x: Tensor, budget: Tensor | None = None) -> Tensor:
        """Add events where the slope is positive and remove them where it is negative, the steepest first.

        Arguments:
            slope: gain per event, ``[N, ...]``.
            x: samples ``[N, ...]``.
            budget: changes per sample, ``[N]``; all that the threat allows if None.
        """
        flat, gain = x.flatten(1), slope.flatten(1)
        worth = torch.where(gain > 0, gain * (flat < self.most), gain * -(flat > 0).to(gain.dtype))

        def room(places: Tensor) -> Tensor:
            here = flat.gather(1, places)
            return torch.where(gain.gather(1, places) > 0, self.most - here, -here)

        return self._spend(x, worth, room, self.budget(x) if budget is None else budget)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Change random bins: half of them lose their events, half are empty and get some."""
        full = x > 0
        share = torch.where(full, per_sample(torch.sum, full.to(x.dtype)), per_sample(torch.sum, (~full).to(x.dtype)))
        waiting = -torch.log(noise.uniform(x).clamp_min(1e-30)) * share  # the shortest win: draws without replacement
        return self.best(torch.where(full, -1.0, 1.0).to(x.dtype) / positive(waiting), x)

    def wider(self, x: Tensor) -> list[Threat]:
        whole = x[:1].numel() * self.most
        return [self.scaled(max(1, levels * whole // 255)) for levels in (16, 32, 64, 128, 255)]

    def _spend(self, x: Tensor, worth: Tensor, change: Callable[[Tensor], Tensor], budget: Tensor) -> Tensor:
        """Change bins of positive ``worth [N, d]``, the most worthwhile first, as the budget ``[N]`` allows; ``change`` gives
        the largest change of the bins at ``places [N, n]``."""
        if not len(x):
            return x.clone()
        value, places = worth.topk(min(int(budget.amax()), worth.shape[1]), dim=1)
        wanted = change(places) * (value > 0)
        units = wanted.abs()
        used = torch.minimum(units, (budget[:, None] - (units.cumsum(1) - units)).clamp_min(0).to(units.dtype))
        changed = x.flatten(1).scatter_add(1, places, (used * wanted.sign()).to(x.dtype))
        return changed.view_as(x)
