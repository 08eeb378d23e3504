"""Two networks on the same images: whether one gets more of them right than the other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.evaluation.intervals import Interval

ALPHA = 0.05
"""The level at which two networks are told apart."""


@dataclass(frozen=True)
class Paired:
    """How two networks differ.

    Arguments:
        won, lost: on how many images only the one, or only the other, is right.
        images: of how many.
    """

    won: int
    lost: int
    images: int

    @staticmethod
    def of(one: Sequence[bool], other: Sequence[bool]) -> Paired:
        """The comparison of two networks by which images each gets right, in the same order.

        Raises:
            ValueError: other numbers of images, or none.
        """
        if len(one) != len(other) or not one:
            raise ValueError(f"networks are compared on the same images, not on {len(one)} and {len(other)}")
        pairs = Counter(zip(map(bool, one), map(bool, other), strict=True))
        return Paired(pairs[True, False], pairs[False, True], len(one))

    def __str__(self) -> str:
        said = "more" if self.won > self.lost else "fewer"
        apart = f"{'' if self.told_apart else 'not '}told apart, McNemar p = {self.p:.2g}"
        points, low, high = (100 * x for x in (self.difference.value, self.difference.low, self.difference.high))
        margin = f"{points:+.1f} points ({low:+.1f} to {high:+.1f})"
        return f"{abs(self.won - self.lost)} {said} of {self.images} samples, {margin}; {apart}"

    @property
    def difference(self) -> Interval:
        """The difference in accuracy, in ``[-1, 1]``, with its 95 % interval: half an image is added to each of the four kinds
        (Agresti & Min 2005)."""
        won, lost, images = self.won + 0.5, self.lost + 0.5, self.images + 2
        half = 1.96 * math.sqrt(won + lost - (won - lost) ** 2 / images) / images
        centre = (won - lost) / images
        return Interval(value=(self.won - self.lost) / self.images, low=max(-1.0, centre - half), high=min(1.0, centre + half))

    @property
    def p(self) -> float:
        """The exact McNemar test: how likely images that differ are to fall so unevenly, as tosses of a coin.

        Returns:
            The two-sided p, at most 1.
        """
        from scipy.stats import binomtest

        return float(binomtest(self.won, self.won + self.lost).pvalue) if self.won + self.lost else 1.0

    @property
    def told_apart(self) -> bool:
        """Whether that is less than `ALPHA`."""
        return self.p < ALPHA
