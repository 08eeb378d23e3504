"""Speed as ratios within one run: what this project computes against the plain definition, and against convolutions alone.

*plain*: `unrolled` by autograd through every step, the image repeated T times, memory in the default layout and left to the C
library, every member alone. *floor*: the same convolutions and linears alone, in the layout and as often as ours calls them,
with ours' memory. Each form lives in a process of its own; they run in turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isnan
from statistics import median
from typing import ClassVar

from benchmarks.bench.forms import Case, plain
from benchmarks.bench.rows import FORMS, ROWS
from benchmarks.bench.worker import Worker
from robustsnn.names import find

__all__ = ["ROWS", "Case", "Timing", "bench", "plain"]

NONE = float("nan")


@dataclass(frozen=True)
class Timing:
    """Medians in seconds and peaks in bytes, NaN where there is none. ``same``: share of images with the same robust flags."""

    what: str
    plain: float
    ours: float
    floor: float
    same: float
    plain_bytes: float
    ours_bytes: float

    HEAD: ClassVar = ("plain s", "ours s", "ratio", "floor s", "ours/floor", "plain GiB", "ours GiB", "same flags")

    @property
    def ratio(self) -> float:
        """How often ours fits into plain."""
        return self.plain / self.ours

    @property
    def floors(self) -> float:
        """How often the floor fits into ours."""
        return self.ours / self.floor

    @property
    def memory(self) -> float:
        """The share of plain's memory that ours takes."""
        return self.ours_bytes / self.plain_bytes

    @property
    def bound(self) -> float:
        """The ratio, if all but convolutions and linears cost nothing."""
        return self.plain / self.floor

    def cells(self) -> list[str]:
        """What a table shows, under ``HEAD``."""
        figures = (self.plain, self.ours, self.ratio, self.floor, self.floors)
        memory = (self.plain_bytes / 2**30, self.ours_bytes / 2**30)
        cells = [f"{figure:.3g}" for figure in (*figures, *memory)]
        return [self.what, *cells, "" if isnan(self.same) else f"{self.same:.1%}"]


def bench(case: Case, rows: Sequence[str] = tuple(ROWS), repeats: int = 3) -> Iterator[Timing]:
    """Time each of ``rows``: plain, ours and floor in turns, once to warm up and ``repeats`` times to count.

    Yields:
        One row after the other, as it is measured.

    Raises:
        ValueError: an unknown row.
        RuntimeError: a process of the bench died.
    """
    for what in rows:
        find("row", ROWS, what)
        with ExitStack() as stack:
            workers = {form: stack.enter_context(Worker(case, what, form)) for form in FORMS}
            times: dict[str, list[float]] = {form: [] for form in FORMS}
            for turn in range(repeats + 1):
                for form, worker in workers.items():
                    seconds = worker.run()
                    if turn:
                        times[form].append(seconds)
            flags, peaks = ({form: worker.ask(question) for form, worker in workers.items()} for question in ("flags", "peak"))
        same = [a == b for a, b in zip(flags["plain"], flags["ours"], strict=True)]
        yield Timing(
            what,
            **{form: median(seen) for form, seen in times.items()},
            same=sum(same) / len(same) if same else NONE,
            plain_bytes=peaks["plain"],
            ours_bytes=peaks["ours"],
        )
