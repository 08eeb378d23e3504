"""Flips of single events: what an adversary in front of an event camera, or a noisy pixel, may change."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.threats.samplewise import per_sample, positive
from robustsnn.types import Noise


@dataclass(frozen=True)
class Flips:
    """Add or remove single events of binary frames ``[N, T, 2, H, W]``: bits flip, nothing else changes.

    Arguments:
        eps: the budget: below 1 a share of each sample's events, rounded down, otherwise a number of events.

    Raises:
        ValueError: ``eps`` is negative or not finite.

    >>> Flips(0.01).spelled, Flips(20).spelled
    ('1 % flips', '20 flips')
    >>> Flips(0.5).budget(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    tensor([1])
    """

    eps: float = 0.01
    words: ClassVar[str] = "flips of single events"
    axis: ClassVar[tuple[float, str]] = (100.0, "flips in % of the events")

    def __post_init__(self) -> None:
        if not isinstance(self.eps, int | float) or not 0 <= self.eps < math.inf:
            raise ValueError(f"a budget of flips must be finite and at least 0, not {self.eps!r}")

    @property
    def spelled(self) -> str:
        return f"{100 * self.eps:.3g} % flips" if self.eps < 1 else f"{self.eps:.0f} flips"

    def scaled(self, eps: float) -> Flips:
        return replace(self, eps=eps)

    def widest(self, x: Tensor) -> float:
        return float(x[:1].numel())

    def budget(self, x: Tensor) -> Tensor:
        """Return how many events of each sample may change, ``[N]``."""
        if self.eps >= 1:
            return torch.full((len(x),), int(self.eps), device=x.device)
        return (self.eps * x.flatten(1).sum(1, dtype=torch.float64) + 1e-9).floor().long()  # 0.07 * 100 is below 7

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """Flip where ``adv`` lies nearer to the other bit, the furthest first, as many as the budget allows."""
        return self.flipped(x, (adv - x).abs() - 0.5)

    def flipped(self, x: Tensor, worth: Tensor, budget: Tensor | None = None) -> Tensor:
        """Flip the bits of positive ``worth``, the most worthwhile first, as many as the budget allows.

        Arguments:
            x: samples ``[N, ...]``.
            worth: of each flip, ``[N, ...]``.
            budget: flips per sample, ``[N]``; all that the threat allows if None.
        """
        flat, budget = worth.flatten(1), self.budget(x) if budget is None else budget
        most = min(int(budget.amax()), flat.shape[1]) if len(x) else 0
        best, places = flat.topk(most, dim=1)
        chosen = (best > 0) & (torch.arange(most, device=x.device) < budget[:, None])
        flips = torch.zeros_like(flat).scatter(1, places, chosen.to(flat.dtype)).view_as(x)
        return (x - flips.to(x.dtype)).abs()

    def contains(self, adv: Tensor, x: Tensor) -> Tensor:
        bits = ((adv == 0) | (adv == 1)).flatten(1).all(1)
        return bits & ((adv != x).flatten(1).sum(1) <= self.budget(x))

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Flip random bits up to the budget: half of them events, half empty places."""
        share = torch.where(x == 1, per_sample(torch.sum, x), per_sample(torch.sum, 1 - x))
        waiting = -torch.log(noise.uniform(x).clamp_min(1e-30)) * share  # the shortest win: draws without replacement
        return self.flipped(x, 1 / positive(waiting))

    def direction(self, grad: Tensor) -> Tensor:
        """Return the single flip along the largest gradient."""
        flat = grad.flatten(1)
        place = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, place, flat.gather(1, place).sign()).view_as(grad)
