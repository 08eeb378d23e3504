"""Measured networks against one another: how they differ on the same images, and what counts as a difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from benchmarks.measured import HEADLINE, Measured
from robustsnn.evaluation import Interval, Paired

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

Verdict = Literal["more", "less", "not significant"]


class Gain(Paired):
    """How one network differs from another on the same images."""

    @property
    def points(self) -> float:
        """The difference in accuracy, in percentage points."""
        return 100 * self.difference.value

    @property
    def half(self) -> float:
        """Half of its 95 % interval."""
        return 50 * (self.difference.high - self.difference.low)

    @property
    def verdict(self) -> Verdict:
        """The direction of the difference if it is significant in this comparison alone."""
        return "not significant" if not self.told_apart else "more" if self.won > self.lost else "less"

    def __str__(self) -> str:
        said = f"{self.points:+.1f} ± {self.half:.1f} ({self.won}:{self.lost})"
        return f"**{said}**" if self.told_apart else said


def gain(one: Measured, other: Measured, by: By = BY["PGD-20 8/255"], images: slice = slice(None)) -> Gain | None:
    """How one network differs from another, on those of the first images on which both were measured.

    Raises:
        ValueError: they were measured by different protocols or rules.
    """
    if len(ways := {each.way(*by) for each in (one, other)} - {None}) > 1:
        raise ValueError(
            f"{one.name}-{one.seed} and {other.name}-{other.seed} were measured otherwise: {sorted(map(str, ways))}"
        )
    flags = [each.right(*by) for each in (one, other)]
    both = slice(min(map(len, flags)))
    first, second = (each[both][images] for each in flags)
    return Gain(**vars(Paired.of(first, second))) if first else None


def broken(each: Measured, attack: str, eps: float) -> str:
    """How many images each attack of an ensemble broke among those that earlier attacks left. Transfer counts separately.
    Empty if not measured."""
    result = each.result(attack, eps)
    if result is None:
        return ""
    counts: Counter[str] = Counter()
    for member, count in zip(result.members, result.broken, strict=True):
        name, _, path = member.partition(" along ")
        counts[f"{name} by transfer" if path.startswith("transfer ") else name] += count
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
