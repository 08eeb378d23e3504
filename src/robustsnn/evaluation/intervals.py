"""Accuracies with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of a sample, and its distribution-free 95 % interval between two values of the sample; the ends are
    infinite if there are fewer than six values.

    The median of the distribution is below the k-th smallest of n values with the probability that fewer than k of n coins
    show heads, and above the k-th largest with the same one.

    >>> median([5, 1, 3, 2, 4, 6, 7, 8])
    (4.5, 1, 8)
    """
    if not values:
        return math.nan, -math.inf, math.inf
    from scipy.stats import binom

    ordered, count = sorted(values), len(values)
    k = int(binom.ppf(0.025, count, 0.5))
    low, high = (ordered[k - 1], ordered[count - k]) if k else (-math.inf, math.inf)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2, low, high


def percent(interval: Interval, *, bounds: bool = True) -> str:
    """Format a share in percent, with its 95 % interval.

    >>> percent(Interval(value=0.5, low=0.4, high=0.6))
    '50.0 (40.0-60.0)'
    """
    text = f"{100 * interval.value:.1f}"
    return f"{text} ({100 * interval.low:.1f}-{100 * interval.high:.1f})" if bounds else text
