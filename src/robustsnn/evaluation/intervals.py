"""Accuracies with confidence intervals."""

from __future__ import annotations

import math

from pydantic import BaseModel


class Interval(BaseModel, frozen=True):
    """A share of images with its 95 % interval, such as an accuracy in ``[0, 1]``."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def wilson(hits: int, count: int) -> Interval:
    """Return ``hits / count`` with its Wilson 95 % score interval (Wilson 1927); ``count`` 0 gives NaN.

    >>> wilson(50, 100)
    Interval(value=0.5, low=0.403831..., high=0.596168...)
    """
    if not count:
        return Interval(value=math.nan, low=0, high=1)
    from scipy.stats import binomtest  # takes a second to import; many commands do not need it

    found = binomtest(hits, count).proportion_ci(method="wilson")
    return Interval(value=hits / count, low=found.low, high=found.high)


def percent(interval: Interval, *, bounds: bool = True) -> str:
    """Format a share in percent, with its 95 % interval.

    >>> percent(Interval(value=0.5, low=0.4, high=0.6))
    '50.0 (40.0-60.0)'
    """
    text = f"{100 * interval.value:.1f}"
    return f"{text} ({100 * interval.low:.1f}-{100 * interval.high:.1f})" if bounds else text
