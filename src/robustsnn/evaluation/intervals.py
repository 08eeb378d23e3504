"""Shares of images with their intervals."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict


class Interval(BaseModel):
    """A share of images with its Wilson 95 % interval, all in ``[0, 1]``."""

    model_config = ConfigDict(frozen=True)
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def wilson(hits: int, count: int) -> Interval:
    """The Wilson score interval at 95 % (Wilson 1927).

    >>> wilson(50, 100)
    Interval(value=0.5, low=0.403831..., high=0.596168...)
    """
    if not count:
        return Interval(value=math.nan, low=0, high=1)
    z, share = 1.959963984540054, hits / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((centre + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return Interval(value=share, low=max(0.0, low), high=min(1.0, high))
