"""Rows with the reports that `benchmarks.results` keeps of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.plan import PLAN
from benchmarks.rows import KEPT, Row
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

    def found(self, attack: str, eps: float) -> tuple[Report, Result] | None:
        """What one ensemble left, of the most images that it was run on, with the report that says so."""
        reports = [run.rows[0].report for run in self.runs.values()]
        alike = [(report, r) for report in reports for r in report.results if r.attack == attack and math.isclose(r.eps, eps)]
        return max(alike, key=lambda found: found[0].images, default=None)

    def result(self, attack: str, eps: float) -> Result | None:
        """The same without the report."""
        found = self.found(attack, eps)
        return found[1] if found else None

    def way(self, attack: str, eps: float) -> tuple[str, str] | None:
        """By which protocol and rule that was measured; None without attack, or if it was not."""
        found = self.found(attack, eps) if attack else None
        return (found[0].ruler, found[1].rule) if found else None

    def right(self, attack: str = "", eps: float = 0.0) -> list[bool]:
        """Which images it classifies correctly under an attack or, without a name, under none; empty if not measured."""
        if not attack:
            return [flag != MISCLASSIFIED for flag in self.report.results[0].broken_by]
        result = self.result(attack, eps)
        return [] if result is None else [flag == ROBUST for flag in result.broken_by]

    def share(self, attack: str = "", eps: float = HEADLINE, images: int | None = None) -> Interval | None:
        """The share of the first images that are right; None if not measured."""
        flags = self.right(attack, eps)[:images]
        return wilson(sum(flags), len(flags)) if flags else None

    @property
    def minutes(self) -> float:
        """What training cost, that of its ANN included, in minutes of one processor core."""
        return float(sum(self.made["processor_seconds"].values())) / 60


def found(rows: Iterable[str]) -> list[Measured]:
    """The measurements of some rows, in their order."""
    there = [Measured(name, seed) for name in rows for seed in PLAN[name].seeds]
    return [each for each in there if (each.folder / "made.json").is_file() and each.runs]
