"""Claims that the pages of results test: the rows that decide each part, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.compared import BY, By, Verdict, gain
from benchmarks.measured import Measured, found
from benchmarks.plan import PLAN
from robustsnn.evaluation.paired import ALPHA

Names = tuple[str, str]
"""Two rows; the claim is that the first withstands more."""

Judged = tuple[str, str, int]
"""Two rows and a seed."""


Standing = tuple[str, int]
"""A verdict, and the least number of seeds behind it."""

OPEN: Standing = ("not measured", 0)
"""The standing of a part without a verdict."""


@dataclass(frozen=True)
class Part:
    """A part of the claim: one network withstands more than another.

    Arguments:
        name: the comparison in words.
        judged: pairs of rows that decide.
        shown: further pairs of rows to show.
    """

    name: str
    judged: tuple[Names, ...]
    shown: tuple[Names, ...] = ()

    @property
    def pairs(self) -> tuple[Names, ...]:
        """All its rows."""
        return self.judged + self.shown

    def standing(self, verdicts: Mapping[Judged, Verdict]) -> Standing:
        """The verdict over all pairs and seeds."""
        told = {verdict for (one, other, _), verdict in verdicts.items() if (one, other) in self.judged}
        if not told:
            return OPEN
        counts = [sum((one, other) == names for one, other, _ in verdicts) for names in self.judged]
        return "more robust" if told == {"more"} else "less robust" if told == {"less"} else "not shown", min(
            filter(None, counts)
        )


def seeds(one: str, other: str) -> list[tuple[Measured, Measured]]:
    """Two rows, seed by seed, where both were measured."""
    first, others = (found([name] if name in PLAN else []) for name in (one, other))
    at = {each.seed: each for each in others}
    return [(each, at[each.seed]) for each in first if each.seed in at]


def outcomes(pairs: Sequence[tuple[Measured, Measured]], by: By) -> str:
    """Verdicts of single comparisons with their seeds, for a table."""
    told: dict[Verdict, list[int]] = {}
    for one, other in pairs:
        if difference := gain(one, other, by):
            told.setdefault(difference.verdict, []).append(one.seed)
    return ", ".join(
        f"{verdict} (seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))})"
        for verdict, numbers in told.items()
    )


def judged(parts: Sequence[Part], by: By) -> dict[Judged, Verdict]:
    """The verdict of every comparison of a claim under an attack, at 5 % for all of them together (Holm 1979)."""
    pairs = {(one.name, other.name, one.seed): (one, other) for part in parts for n in part.judged for one, other in seeds(*n)}
    gains = {names: found for names, pair in pairs.items() if (found := gain(*pair, by))}
    verdicts: dict[Judged, Verdict] = dict.fromkeys(gains, "not significant")
    for left, (names, found) in zip(range(len(gains), 0, -1), sorted(gains.items(), key=lambda item: item[1].p), strict=True):
        if found.p >= ALPHA / left:
            break
        verdicts[names] = found.verdict
    return verdicts


def beside(part: Part, holds: bool) -> str:
    """Clean accuracy in a comparison: the largest significant loss if the claim holds, else the smallest gain if all are
    significant."""
    found = [gain(*pair, BY["clean"]) for names in part.judged for pair in seeds(*names)]
    gains = [each for each in found if each]
    lost = [-each.points for each in gains if each.verdict == "less"]
    if holds:
        return f"{max(lost):.1f} points lower" if lost else "-"
    if not gains or any(each.verdict != "more" for each in gains):
        return "-"
    return f"{min(each.points for each in gains):.1f} points higher"


def standings(parts: Sequence[Part], by: By) -> list[list[str]]:
    """A table of the parts of a claim, judged by an attack; parts without any measurement are left out."""
    verdicts = judged(parts, by)
    lines = [["comparison", "verdict", "seeds", "clean accuracy"]]
    for part in parts:
        verdict, count = standing = part.standing(verdicts)
        clean = beside(part, verdict == "more robust")
        if (standing, clean) != (OPEN, "-"):
            lines.append([part.name, verdict, str(count or "-"), clean])
    return lines
