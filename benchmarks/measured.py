"""Rows with the reports that `benchmarks.results` keeps of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.plan import PLAN, Row
from benchmarks.results import KEPT
from robustsnn.evaluation import MISCLASSIFIED, ROBUST, Interval, Report, Result, wilson
from robustsnn.reporting import RunReport, read_report

HEADLINE = 8 / 255


@dataclass(frozen=True)
class Measured:
    """A row of one seed, with the reports that are there."""

    name: str
    seed: int

    @property
    def row(self) -> Row:
        """How it is made."""
        return PLAN[self.name]

    @cached_property
    def made(self) -> dict[str, Any]:
        """How it came about."""
        value: dict[str, Any] = json.loads((self.folder / "made.json").read_text())
        return value

    @property
    def folder(self) -> Path:
        """Where its reports are."""
        return KEPT / f"{self.name}-{self.seed}"

    @cached_property
    def runs(self) -> dict[str, RunReport]:
        """Reports by measure."""
        files = {measure: self.folder / f"{measure}.json" for measure in self.row.measures}
        return {measure: read_report(file.read_bytes(), file) for measure, file in files.items() if file.is_file()}

    @property
    def report(self) -> Report:
        """The report of the first measure."""
        return next(iter(self.runs.values())).rows[0].report

    def result(self, attack: str, eps: float) -> Result | None:
        """What one ensemble left."""
        results = [result for run in self.runs.values() for result in run.rows[0].report.results]
        return next((r for r in results if r.attack == attack and math.isclose(r.eps, eps)), None)

    def robust(self, attack: str = "PGD-20", eps: float = HEADLINE, images: int | None = None) -> Interval | None:
        """Worst-case accuracy, on the first images."""
        result = self.result(attack, eps)
        return None if result is None else survived(result.broken_by[:images])

    def clean(self, images: int | None = None) -> Interval:
        """Accuracy without an attack, on the first images."""
        flags = self.report.results[0].broken_by[:images]
        return wilson(sum(flag != MISCLASSIFIED for flag in flags), len(flags))

    @property
    def minutes(self) -> float:
        """What training cost, in minutes of one processor core; nothing for what an ANN's row has paid already."""
        return float(sum(self.made["processor_seconds"].values())) / 60


def survived(flags: tuple[int, ...]) -> Interval:
    """The share of images that nothing broke."""
    return wilson(sum(flag == ROBUST for flag in flags), len(flags))


def found(rows: Iterable[str] | None = None) -> list[Measured]:
    """What was measured of some rows, or of all, in their order."""
    there = [Measured(name, seed) for name in (PLAN if rows is None else rows) for seed in PLAN[name].seeds]
    return [each for each in there if (each.folder / "made.json").is_file() and each.runs]
