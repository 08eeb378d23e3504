"""Claims that pages of results test, part by part: which rows speak for them, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.compared import BY, By, Verdict, gain
from benchmarks.measured import Measured, found
from benchmarks.plan import PLAN
from robustsnn.evaluation.paired import ALPHA

Names = tuple[str, str]
"""Two rows, the one that is spoken for first."""

Judged = tuple[str, str, int]
"""Two rows and a seed."""


@dataclass(frozen=True)
class Part:
    """A part of the claim: that something withstands more than something else.

    Arguments:
        name: what against what.
        judged: the rows that decide.
        shown: rows beside them that say more of it.
    """

    name: str
    judged: tuple[Names, ...]
    shown: tuple[Names, ...] = ()

    @property
    def pairs(self) -> tuple[Names, ...]:
        """All its rows."""
        return self.judged + self.shown

    def standing(self, verdicts: Mapping[Judged, Verdict]) -> str:
        """How it stands, and in how many seeds."""
        told = {verdict for (one, other, _), verdict in verdicts.items() if (one, other) in self.judged}
        if not told:
            return "not judged yet"
        counts = [sum((one, other) == names for one, other, _ in verdicts) for names in self.judged]
        least = min(filter(None, counts))
        stands = "holds" if told == {"more"} else "the opposite holds" if told == {"less"} else "not shown"
        return f"{stands} ({least} seed{'s' if least > 1 else ''})"


def seeds(one: str, other: str) -> list[tuple[Measured, Measured]]:
    """Two rows, seed by seed, where both were measured."""
    first, others = (found([name] if name in PLAN else []) for name in (one, other))
    at = {each.seed: each for each in others}
    return [(each, at[each.seed]) for each in first if each.seed in at]


def outcomes(pairs: Sequence[tuple[Measured, Measured]], by: By) -> dict[Verdict, list[int]]:
    """In which seeds one network of each pair withstands more than the other, less, or neither."""
    told: dict[Verdict, list[int]] = {}
    for one, other in pairs:
        if difference := gain(one, other, by):
            told.setdefault(difference.verdict, []).append(one.seed)
    return told


def judged(parts: Sequence[Part], by: By) -> dict[Judged, Verdict]:
    """The verdict of every comparison of a claim under an attack, at 5 % for all of them together (Holm 1979)."""
    pairs = {(one.name, other.name, one.seed): (one, other) for part in parts for n in part.judged for one, other in seeds(*n)}
    gains = {names: found for names, pair in pairs.items() if (found := gain(*pair, by))}
    verdicts: dict[Judged, Verdict] = dict.fromkeys(gains, "not told apart")
    for left, (names, found) in zip(range(len(gains), 0, -1), sorted(gains.items(), key=lambda item: item[1].p), strict=True):
        if found.p >= ALPHA / left:
            break
        verdicts[names] = found.verdict
    return verdicts


def beside(part: Part, holds: bool) -> str:
    """What a part means for clean accuracy, where that tells its rows apart: what it costs if it holds, else what all gain."""
    found = [gain(*pair, BY["clean"]) for names in part.judged for pair in seeds(*names)]
    gains = [each for each in found if each]
    lost = [-each.points for each in gains if each.verdict == "less"]
    if holds:
        return f", for {max(lost):.1f} points less clean accuracy" if lost else ""
    if not gains or any(each.verdict != "more" for each in gains):
        return ""
    return f", at {min(each.points for each in gains):.1f} points more clean accuracy"


def standings(parts: Sequence[Part], by: By) -> dict[str, str]:
    """How every part of a claim stands, judged by an attack."""
    verdicts = judged(parts, by)
    standing = {part: part.standing(verdicts) for part in parts}
    return {part.name: f"{stands}{beside(part, stands.startswith('holds'))}" for part, stands in standing.items()}
