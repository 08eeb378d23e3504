"""The base of threats to event data: samples are whole numbers of events per time bin, polarity and pixel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from robustsnn.types import Noise, Threat


@dataclass(frozen=True)
class EventThreat(ABC):
    """Changes of single events in frames ``[N, T, ...]``, usually ``[N, T, 2, H, W]`` with polarities and pixels.

    A subclass defines `allowed`, `nearest`, `best` and `sample`. All methods act on each sample separately.

    Arguments:
        eps: the budget, in the unit of the kind.
        most: largest number of events in a bin; 1 for binary frames.

    Raises:
        ValueError: a number is out of range.
    """

    eps: float
    most: int = 1
    words: ClassVar[str] = "changes of single events"

    def __post_init__(self) -> None:
        if not isinstance(self.eps, int | float) or not 0 <= self.eps < math.inf:
            raise ValueError(f"the budget eps of {type(self).__name__} must be finite and at least 0, not {self.eps!r}")
        if not isinstance(self.most, int) or self.most < 1:
            raise ValueError(
                f"most of {type(self).__name__}, the largest count of a bin, must be at least 1, not {self.most!r}"
            )

    @property
    @abstractmethod
    def axis(self) -> tuple[float, str]:
        """Factor on budgets in figures, and the label of that axis."""

    @property
    def takes(self) -> str:
        return f"whole numbers of events from 0 to {self.most}"

    @property
    @abstractmethod
    def spelled(self) -> str:
        """The threat as reports write it."""

    @property
    def usual(self) -> tuple[float, ...]:
        return (self.eps,)

    def scaled(self, eps: float) -> EventThreat:
        return replace(self, eps=eps)

    def whole(self, x: Tensor) -> Tensor:
        """Return which samples hold whole numbers from 0 to ``most`` only, ``[N]``."""
        return ((x == x.round()) & (x >= 0) & (x <= self.most)).flatten(1).all(1)

    def contains(self, adv: Tensor, x: Tensor) -> Tensor:
        return self.whole(adv) & self.allowed(adv, x)

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        return self.nearest(adv.nan_to_num(), x)

    @abstractmethod
    def allowed(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return which whole samples ``adv`` are allowed around ``x``, ``[N]``."""

    @abstractmethod
    def nearest(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return an allowed sample near ``adv``, or ``adv`` itself if it is allowed."""

    @abstractmethod
    def best(self, slope: Tensor, x: Tensor) -> Tensor:
        """Return the allowed sample with the largest ``sum(slope * adv)``; ``x`` itself where the slope is 0."""

    @abstractmethod
    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Return a random allowed sample that uses the whole budget."""

    @abstractmethod
    def wider(self, x: Tensor) -> list[Threat]:
        """Return threats of larger budgets, the last of which allows every sample; none if no budget does."""
