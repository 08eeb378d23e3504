"""Measured networks against one another: gains over the same images, and what counts as one."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmarks.measured import HEADLINE, Measured
from robustsnn.evaluation import MISCLASSIFIED, ROBUST, Interval

COMPARED = 500
"""Images on which networks are compared with one another: the first of the test set."""
UNSEEN = slice(COMPARED, 2 * COMPARED)
"""Images on which no recipe was chosen."""


@dataclass(frozen=True)
class Gain:
    """By how many points one network is better than another, and half of the 95 % interval, over the same images."""

    points: float
    half: float

    def __str__(self) -> str:
        return f"{self.points:+.1f} ± {self.half:.1f}"

    @property
    def verdict(self) -> str:
        """What that means, in words."""
        if abs(self.points) <= self.half:
            return "no difference beyond the interval"
        return "more, beyond the interval" if self.points > 0 else "less, beyond the interval"


def gain(
    one: Measured,
    other: Measured,
    attack: str = "PGD-20",
    eps: float = HEADLINE,
    *,
    clean: bool = False,
    images: slice = slice(COMPARED),
) -> Gain | None:
    """The gain in worst-case accuracy, or in clean accuracy, where both were measured on these images."""
    results = [each.result(attack, eps) for each in (one, other)]
    lost = (MISCLASSIFIED,) if clean else None
    flags = [
        [float(flag not in lost if lost else flag == ROBUST) for flag in result.broken_by[images]]
        for result in results
        if result is not None
    ]
    if len(flags) < 2 or not all(flags):
        return None
    pairs = [100 * (a - b) for a, b in zip(*flags, strict=True)]
    return Gain(fmean(pairs), 1.96 * stdev(pairs) / math.sqrt(len(pairs)))


def broken(each: Measured, attack: str, eps: float) -> str:
    """How many images each attack of an ensemble broke, of those that the attacks before it left; empty if not measured."""
    result = each.result(attack, eps)
    if result is None:
        return ""
    counts: Counter[str] = Counter()
    for member, count in zip(result.members, result.broken, strict=True):
        counts[member.split(" along ")[0]] += count
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def strictest(rows: list[Measured]) -> tuple[Interval, Interval] | None:
    """The least and the most that `rigorous` at the headline radius left of several networks."""
    shares = sorted((share for each in rows if (share := each.robust("rigorous"))), key=lambda share: share.value)
    return (shares[0], shares[-1]) if len(shares) > 1 else None


AIM = 3.0, 1.0
"""Points that a better recipe must gain in the worst case, and may lose without an attack."""


def reached(each: Measured, other: Measured) -> bool:
    """Whether an experiment is the better recipe that is looked for."""
    robust, clean = gain(each, other), gain(each, other, clean=True)
    return robust is not None and clean is not None and robust.points >= AIM[0] and clean.points >= -AIM[1]
