"""Accuracies with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel

Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""


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
    share, whole = hits / count, 2 * (count + Z**2)
    centre = (2 * count * share + Z**2) / whole
    half = Z / whole * math.sqrt(4 * count * share * (1 - share) + Z**2)
    return Interval(value=share, low=centre - half if hits else 0.0, high=centre + half if hits < count else 1.0)


def at_least(hits: int, count: int, share: float) -> float:
    """Return the binomial probability of at least ``hits`` out of ``count`` images, each with probability ``share`` in (0, 1).
    Importing scipy for it would take half a second.

    >>> round(at_least(1, 64, 0.01), 3), round(at_least(3, 32, 0.01), 4)
    (0.474, 0.004)
    """
    whole, ours, others = math.lgamma(count + 1), math.log(share), math.log1p(-share)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * ours + (count - k) * others)
        for k in range(max(hits, 0), count + 1)
    )


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
    ordered, count = sorted(values), len(values)
    k, ways, within = 0, 1, 1  # ways to get k heads, and at most k
    while 40 * within < 2**count:
        k += 1
        ways = ways * (count - k + 1) // k
        within += ways
    low, high = (ordered[k - 1], ordered[count - k]) if k else (-math.inf, math.inf)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2, low, high


def percent(interval: Interval, *, bounds: bool = True) -> str:
    """Format a share in percent, with its 95 % interval.

    >>> percent(Interval(value=0.5, low=0.4, high=0.6))
    '50.0 (40.0-60.0)'
    """
    text = f"{100 * interval.value:.1f}"
    return f"{text} ({100 * interval.low:.1f}-{100 * interval.high:.1f})" if bounds else text
