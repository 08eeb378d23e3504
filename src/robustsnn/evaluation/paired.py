"""Paired comparison of two networks on the same images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.evaluation.intervals import Interval

ALPHA = 0.05
"""Significance level of the comparison."""


@dataclass(frozen=True)
class Paired:
    """The comparison of a network with another one.

    Arguments:
        won, lost: number of images that only the first, or only the other, network gets right.
        images: number of images.
    """

    won: int
    lost: int
    images: int

    @staticmethod
    def of(one: Sequence[bool], other: Sequence[bool]) -> Paired:
        """Compare two networks by the images that each gets right, in the same order.

        Raises:
            ValueError: the numbers of images differ, or there are none.
        """
        if len(one) != len(other) or not one:
            raise ValueError(f"networks must be compared on the same images, not on {len(one)} and {len(other)} images")
        pairs = Counter(zip(map(bool, one), map(bool, other), strict=True))
        return Paired(pairs[True, False], pairs[False, True], len(one))

    def __str__(self) -> str:
        said = "more" if self.won > self.lost else "fewer"
        apart = f"{'' if self.told_apart else 'no '}significant difference, McNemar p = {self.p:.2g}"
        points, low, high = (100 * x for x in (self.difference.value, self.difference.low, self.difference.high))
        margin = f"{points:+.1f} points ({low:+.1f} to {high:+.1f})"
        return f"{abs(self.won - self.lost)} {said} of {self.images} samples, {margin}; {apart}"

    @property
    def difference(self) -> Interval:
        """The difference in accuracy, in ``[-1, 1]``, with its 95 % interval: half an image is added to each of the four cells
        (Agresti & Min 2005)."""
        won, lost, images = self.won + 0.5, self.lost + 0.5, self.images + 2
        half = 1.96 * math.sqrt(won + lost - (won - lost) ** 2 / images) / images
        centre = (won - lost) / images
        return Interval(value=(self.won - self.lost) / self.images, low=max(-1.0, centre - half), high=min(1.0, centre + half))

    @property
    def p(self) -> float:
        """The two-sided p-value of the exact McNemar test on the images where the networks differ."""
        from scipy.stats import binomtest

        return float(binomtest(self.won, self.won + self.lost).pvalue) if self.won + self.lost else 1.0

    @property
    def told_apart(self) -> bool:
        """Whether the difference is significant: ``p`` is below `ALPHA`."""
        return self.p < ALPHA
