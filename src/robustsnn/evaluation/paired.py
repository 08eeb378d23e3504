"""Paired comparison of two networks on the same images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robustsnn.evaluation.intervals import Interval
from robustsnn.names import number

if TYPE_CHECKING:
    from robustsnn.evaluation.report import Report

ALPHA = 0.05
"""Significance level of the comparison."""


@dataclass(frozen=True)
class Paired:
    """The comparison of a network with another one.

    Arguments:
        won, lost: number of images that only the first, or only the other, network gets right.
        images: number of images.
        at: the radius, for people; empty without an attack.
        checked: whether the images are known to be the same, not only as many.
    """

    won: int
    lost: int
    images: int
    at: str = ""
    checked: bool = True

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
        where = f"at {self.at}: " if self.at else ""
        doubt = "" if self.checked else "; an older report does not say whether its samples are the same"
        return f"{where}{abs(self.won - self.lost)} {said} of {self.images} samples, {margin}; {apart}{doubt}"

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


def compared(one: Report, other: Report, eps: float | str | None) -> Paired:
    """Compare two reports: see `Report.compare`."""
    mine, theirs = (
        {
            "protocol": report.ruler,
            "attacks": ", ".join(sorted({result.attack for result in report.results})),
            "rule": ", ".join(sorted({result.rule for result in report.results})),
            "threat": report.threat,
            "number of samples": report.images,
        }
        for report in (one, other)
    )
    for what, own in mine.items():
        if own != theirs[what]:
            raise ValueError(f"reports must have the same {what} to be compared, not {own} and {theirs[what]}")
    known = bool(one.samples and other.samples)
    if known and one.samples != other.samples:
        raise ValueError(
            "the reports are of other samples, or of the same in another order: evaluate both networks on the same data"
        )
    radii = [result.eps for result in one.results if other.at(result.eps)]
    radius = max(radii, default=math.nan) if eps is None else number(eps)
    if not (one.at(radius) and other.at(radius)):
        raise ValueError(f"the reports have no radius {'in common' if eps is None else eps}: evaluate both at the same eps")
    pair = Paired.of(one.withstood(radius), other.withstood(radius))
    return replace(pair, at=one.at(radius)[0].within.spelled, checked=known)
