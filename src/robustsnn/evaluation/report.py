"""What was measured on one network, as a value that becomes JSON and comes back."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SerializeAsAny, ValidationError, field_validator, model_validator

from robustsnn.evaluation.intervals import Interval, wilson
from robustsnn.evaluation.measure import Found, Measure
from robustsnn.evaluation.paired import Paired
from robustsnn.evaluation.protocols import PROTOCOLS, Audit
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Audited, Check, Result, WorstCase
from robustsnn.names import find, first_error, number
from robustsnn.settings import Settings


class Report(BaseModel, frozen=True):
    """What was measured on one network.

    Arguments:
        settings: what was asked for; the protocol's name with a digest of what it is made of, if not one of `PROTOCOLS`.
        edition: of the protocol; reports of different editions are not compared.
        images, timesteps: how many were evaluated; T, or None for an ANN.
        seed: what starts, pilot and audit were drawn from.
        measured: what each measure found, by its name in `MEASURES`; the worst case always, others where there was something.
        seconds: time on the clock that all this took, since it was last continued.
    """

    settings: Settings
    edition: int = 1
    images: int
    seed: int
    timesteps: int | None
    measured: dict[str, SerializeAsAny[BaseModel]]
    seconds: float

    @field_validator("measured", mode="before")
    @classmethod
    def _read(cls, measured: Any) -> Any:
        """Each by its own measure."""
        from robustsnn.evaluation.measures import MEASURES  # which know reports

        read = {}
        for name, value in measured.items() if isinstance(measured, dict) else ():
            try:
                read[name] = find("measure", MEASURES, name).kind.model_validate(value)
            except ValidationError as error:
                raise ValueError(f"{name}.{first_error(error)}") from None
        return read

    @model_validator(mode="after")
    def _check(self) -> Report:
        if not isinstance(self.measured.get("worst_case"), WorstCase):
            raise ValueError("measured.worst_case is missing")
        if any(len(result.broken_by) != self.images for result in self.results):
            raise ValueError("every result needs one broken_by per image")
        if len({result.threat for result in self.results}) > 1:
            raise ValueError("all results of a report need the same kind of threat")
        return self

    def found(self, measure: Measure[Found]) -> Found | None:
        """What a measure found; None where that was nothing, or was not measured."""
        found = self.measured.get(measure.name)
        return found if isinstance(found, measure.kind) else None

    @property
    def protocol(self) -> str:
        """By what it was measured."""
        return self.settings.protocol

    @property
    def results(self) -> tuple[Result, ...]:
        """Per attack and epsilon; every accuracy follows from their ``broken_by``."""
        worst_case = self.measured["worst_case"]
        assert isinstance(worst_case, WorstCase)
        return worst_case.results

    @property
    def audit(self) -> tuple[Check, ...]:
        """Whether the numbers mean anything; empty without audit."""
        found = self.measured.get("audit")
        return found.checks if isinstance(found, Audited) else ()

    @property
    def audited(self) -> Audit | None:
        """On how many images that was looked at, and how thoroughly; None without audit."""
        how = Audit().under(self.settings)
        return replace(how, images=min(how.images, self.images)) if self.audit else None

    @property
    def clean(self) -> Interval:
        """Accuracy without an attack."""
        return self.results[0].clean

    @property
    def threat(self) -> str:
        """The kind of threat under which everything was measured, by name."""
        return self.results[0].threat

    @property
    def correct(self) -> tuple[bool, ...]:
        """Which images are classified correctly without an attack."""
        return tuple(flag != MISCLASSIFIED for flag in self.results[0].broken_by)

    @property
    def spiking(self) -> bool:
        """Whether the network runs in time steps."""
        return self.timesteps is not None

    @property
    def ruler(self) -> str:
        """The protocol as pages name it: with its edition where there are several, and marked if there is a newer one."""
        newest = PROTOCOLS[self.protocol].edition if self.protocol in PROTOCOLS else 1
        old = ", older protocol" if self.edition < newest else ""
        return self.protocol if newest == 1 else f"{self.protocol} (edition {self.edition}{old})"

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return "spiking network" if self.spiking else "ANN"

    def at(self, eps: float) -> tuple[Result, ...]:
        """All that was measured at one radius."""
        return tuple(result for result in self.results if math.isclose(result.eps, eps))

    def withstood(self, eps: float) -> tuple[bool, ...]:
        """Which images survive every ensemble measured at one radius; empty where none was."""
        return tuple(set(image) == {ROBUST} for image in zip(*(result.broken_by for result in self.at(eps)), strict=True))

    def worst(self, eps: float) -> Interval | None:
        """The share of images that survive every ensemble measured at one radius; None where none was."""
        survivors = self.withstood(eps)
        return wilson(sum(survivors), self.images) if survivors else None

    def result(self, attack: str, eps: float) -> Result:
        """The result of one ensemble.

        Raises:
            ValueError: it was not measured.
        """
        if found := [result for result in self.at(eps) if result.attack == attack]:
            return found[0]
        raise ValueError(f"{attack} at eps {eps:g} was not measured: {[(r.attack, round(r.eps, 4)) for r in self.results]}")

    def compare(self, other: Report, eps: float | str | None = None) -> Paired:
        """Whether this network withstands more of the same samples than another, at one radius; the largest that both were
        measured at if None.

        Raises:
            ValueError: they were measured on other samples, by another protocol or threat, or at no common radius.
        """
        for what, mine, theirs in (
            ("protocol", self.ruler, other.ruler),
            ("threat", self.threat, other.threat),
            ("number of samples", self.images, other.images),
        ):
            if mine != theirs:
                raise ValueError(f"reports are compared by the same {what}, not by {mine} and {theirs}")
        radii = [result.eps for result in self.results if other.at(result.eps)]
        radius = max(radii, default=math.nan) if eps is None else number(eps)
        if not (self.at(radius) and other.at(radius)):
            raise ValueError(
                f"the reports have no radius {'in common' if eps is None else eps}: evaluate both at the same eps"
            )
        return Paired.of(self.withstood(radius), other.withstood(radius))

    def save(self, folder: Path | str, name: str = "network") -> None:
        """Write ``report.json``, ``report.md`` and ``report.html`` into a folder, which is made if need be.

        Arguments:
            name: what the network is called in them.

        Raises:
            ValueError: the folder cannot be written.
        """
        from robustsnn.reporting import RunReport, versions, write_report  # which stands above: it draws any report

        row = Row(network=name, report=self)
        write_report(RunReport(recipe={"name": name}, command="", versions=versions(), rows=(row,)), Path(folder))

    def to_frame(self) -> Any:
        """A pandas table with a row per ensemble and radius: ``attack``, ``threat``, ``eps``, ``clean``, ``robust``, and the
        95 % interval of the latter, ``low`` and ``high``. Raises ImportError: pandas is not installed."""
        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise ImportError("to_frame makes a table of pandas, which is not installed: pip install pandas") from None
        return pandas.DataFrame(
            {
                "attack": result.attack,
                "threat": result.threat,
                "eps": result.eps,
                "clean": result.clean.value,
                "robust": result.robust.value,
                "low": result.robust.low,
                "high": result.robust.high,
            }
            for result in self.results
        )

    def __str__(self) -> str:
        """A table for people."""
        steps = f" of {self.timesteps} steps" if self.spiking else ""
        rows = [("clean", str(self.clean))]
        rows += [(f"{result.attack}, {result.within.spelled}", str(result.robust)) for result in self.results]
        width = max(len(name) for name, _ in rows)
        bad = [f"{check.name} {check.verdict}s" for check in self.audit if check.verdict != "pass"]
        audit = f"audit: {', '.join(bad) or 'passed'}" if self.audit else "not audited"
        head = f"{self.kind}{steps}, {self.images} samples, protocol {self.ruler}; {audit}"
        return "\n".join([head, *(f"{name:{width}}  {share}" for name, share in rows)])


class Row(BaseModel, frozen=True):
    """One network among those that are reported together, and what was measured on it.

    Arguments:
        versions: with what it was measured, as far as that differs from the versions of the whole report.
    """

    network: str
    report: Report
    versions: dict[str, str] = {}
