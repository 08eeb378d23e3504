"""Measured networks against one another: how they differ on the same images, and what counts as a difference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measured import HEADLINE, Measured
from robustsnn.evaluation import Interval

CHOSEN = 500
"""Images on which recipes were searched for: the first of the test set. On those after them no recipe was chosen."""

By = tuple[str, float]
"""An attack or protocol, and its radius."""

BY: dict[str, By] = {
    "clean": ("", 0.0),
    "PGD-20 2/255": ("PGD-20", 2 / 255),
    "PGD-20 8/255": ("PGD-20", HEADLINE),
    "rigorous 2/255": ("rigorous", 2 / 255),
    "rigorous 8/255": ("rigorous", HEADLINE),
}
"""What networks are compared by."""

Verdict = Literal["more", "less", "no difference"]


@dataclass(frozen=True)
class Gain:
    """How one network differs from another on the same images.

    Arguments:
        won, lost: on how many only the one, or only the other, is right.
        images: of how many.
    """

    won: int
    lost: int
    images: int

    @property
    def points(self) -> float:
        """The difference in accuracy, in percentage points."""
        return 100 * (self.won - self.lost) / self.images

    @property
    def half(self) -> float:
        """Half of its 95 % interval, half an image added to each of the four kinds (Agresti & Min 2005)."""
        won, lost, images = self.won + 0.5, self.lost + 0.5, self.images + 2
        return 196 * math.sqrt(won + lost - (won - lost) ** 2 / images) / images

    @property
    def verdict(self) -> Verdict:
        """Whether the exact McNemar test tells the two apart at 5 %: images that differ, as tosses of a coin."""
        differ = self.won + self.lost
        chance = 2 * sum(math.comb(differ, k) for k in range(min(self.won, self.lost) + 1)) / 2**differ
        if chance >= 0.05:
            return "no difference"
        return "more" if self.won > self.lost else "less"

    def __str__(self) -> str:
        said = f"{self.points:+.1f} ± {self.half:.1f} ({self.won}:{self.lost})"
        return said if self.verdict == "no difference" else f"**{said}**"


def gain(one: Measured, other: Measured, by: By = BY["PGD-20 8/255"], images: slice = slice(None)) -> Gain | None:
    """How one network differs from another, on those of the images on which both were measured."""
    pairs = Counter(zip(one.right(*by)[images], other.right(*by)[images], strict=False))
    return Gain(pairs[True, False], pairs[False, True], pairs.total()) if pairs else None


def broken(each: Measured, attack: str, eps: float) -> str:
    """How many images each attack of an ensemble broke, of those that the attacks before it left; empty if not measured."""
    result = each.result(attack, eps)
    if result is None:
        return ""
    counts: Counter[str] = Counter()
    for member, count in zip(result.members, result.broken, strict=True):
        counts[member.split(" along ")[0]] += count
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def strictest(rows: Sequence[Measured]) -> tuple[Interval, Interval] | None:
    """The least and the most that `rigorous` at the headline radius left of several networks."""
    shares = sorted((share for each in rows if (share := each.share("rigorous"))), key=lambda share: share.value)
    return (shares[0], shares[-1]) if len(shares) > 1 else None


AIM = 3.0, 1.0
"""Points that a better recipe must gain in the worst case, and may lose without an attack."""


def reached(each: Measured, other: Measured, images: slice = slice(CHOSEN)) -> bool:
    """Whether an experiment is the better recipe that is looked for."""
    robust, clean = gain(each, other, images=images), gain(each, other, BY["clean"], images)
    return robust is not None and clean is not None and robust.points >= AIM[0] and clean.points >= -AIM[1]
