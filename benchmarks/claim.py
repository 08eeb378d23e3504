"""The claim that the page of results tests, part by part: which rows speak for it, and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compared import BY, By, Verdict, gain
from benchmarks.measured import Measured, found
from benchmarks.plan import PLAN

CALLED = {
    "robust": "robust conversion",
    "natural_converted": "naive conversion",
    "natural_finetuned": "robust finetuning of the natural ANN",
    "end_to_end": "end-to-end robust training",
    "snn_rat": "SNN-RAT",
    "robust_far": "robust conversion at 8/255",
    "end_to_end_far": "end-to-end robust training at 8/255",
    "strong": "our recipe",
}
"""Rows in a sentence."""

Names = tuple[str, str]
"""Two rows, the one that is spoken for first."""


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

    @property
    def standing(self) -> str:
        """How it stands, by `rigorous` at 2/255 and over all rows and seeds that were measured."""
        told = {verdict for names in self.judged for verdict in outcomes(seeds(*names), BY["rigorous 2/255"])}
        if not told:
            return "not judged yet"
        return "holds" if told == {"more"} else "does not hold" if "less" in told and "more" not in told else "not shown"


PARTS = (
    Part("robust conversion against naive conversion", (("robust", "natural_converted"), ("robust", "natural_finetuned"))),
    Part(
        "robust conversion against end-to-end robust training",
        (("robust", "end_to_end"), ("robust_far", "end_to_end_far")),
    ),
    Part("robust conversion against SNN-RAT", (("robust", "snn_rat"), ("robust_far", "snn_rat"))),
    Part("robust conversion trained at 8/255 against at 2/255", (("robust_far", "robust"),)),
    Part(
        "our recipe against end-to-end robust training at its radius",
        (("strong", "end_to_end_far"),),
        (("strong", "end_to_end"), ("strong", "snn_rat"), ("strong", "robust")),
    ),
)


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


def verdicts() -> str:
    """What becomes of the claim, in a sentence."""
    return "; ".join(f"{part.name}: {part.standing}" for part in PARTS)
