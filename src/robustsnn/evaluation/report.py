"""The report of one network: all results, convertible to and from JSON."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SerializeAsAny, ValidationError, field_validator, model_validator

from robustsnn.evaluation.intervals import Interval, wilson
from robustsnn.evaluation.measure import Found, Measure
from robustsnn.evaluation.paired import Paired, compared
from robustsnn.evaluation.protocols import PROTOCOLS, Audit
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Audited, Check, Result, WorstCase
from robustsnn.names import find, first_error, number
from robustsnn.settings import Settings


class Report(BaseModel, frozen=True):
    """All results of one network.

    Arguments:
        settings: the settings; a protocol that is not in `PROTOCOLS` has a digest of its content in its name.
        edition: edition of the protocol; reports of different editions are not comparable.
        images, timesteps: number of evaluated images; T, or None for an ANN.
        samples, classes: digest of the images and labels; number of logits. Reports of older versions have neither.
        seed: seed of random starts, pilot and audit.
        measured: results by measure, as named in `MEASURES`: always the worst case, others if they apply.
        seconds: wall-clock time since the evaluation was last resumed.
    """

    settings: Settings
    edition: int = 1
    images: int
    samples: str = ""
    classes: int | None = None
    seed: int
    timesteps: int | None
    measured: dict[str, SerializeAsAny[BaseModel]]
    seconds: float

    @field_validator("measured", mode="before")
    @classmethod
    def _read(cls, measured: Any) -> Any:
        """Parse each result with the type of its measure."""
        from robustsnn.evaluation.measures import MEASURES  # they import this module

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
        """Return the result of a measure; None if it did not apply or was not measured."""
        found = self.measured.get(measure.name)
        return found if isinstance(found, measure.kind) else None

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return self.settings.protocol

    @property
    def results(self) -> tuple[Result, ...]:
        """Results per ensemble and radius; every accuracy follows from their ``broken_by``."""
        worst_case = self.measured["worst_case"]
        assert isinstance(worst_case, WorstCase)
        return worst_case.results

    @property
    def audit(self) -> tuple[Check, ...]:
        """The checks of the audit; empty without an audit."""
        found = self.measured.get("audit")
        return found.checks if isinstance(found, Audited) else ()

    @property
    def audited(self) -> Audit | None:
        """The extent of the audit; None without an audit."""
        how = Audit().under(self.settings)
        return replace(how, images=min(how.images, self.images)) if self.audit else None

    @property
    def clean(self) -> Interval:
        """Accuracy without an attack."""
        return self.results[0].clean

    @property
    def threat(self) -> str:
        """The kind of threat, by name; all results share it."""
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
        """The protocol's name for pages, with its edition if there are several, and marked if a newer one exists."""
        newest = PROTOCOLS[self.protocol].edition if self.protocol in PROTOCOLS else 1
        old = ", older protocol" if self.edition < newest else ""
        return self.protocol if newest == 1 else f"{self.protocol} (edition {self.edition}{old})"

    @property
    def kind(self) -> str:
        """``"spiking network"`` or ``"ANN"``."""
        return "spiking network" if self.spiking else "ANN"

    def at(self, eps: float | str) -> tuple[Result, ...]:
        """Return all results at one radius, such as 0.1 or ``"8/255"``; radii may be rounded to float32."""
        return tuple(result for result in self.results if math.isclose(result.eps, number(eps), rel_tol=1e-6))

    def withstood(self, eps: float | str) -> tuple[bool, ...]:
        """Return which images survive every ensemble measured at a radius; empty if none was measured there."""
        return tuple(set(image) == {ROBUST} for image in zip(*(result.broken_by for result in self.at(eps)), strict=True))

    def worst(self, eps: float | str) -> Interval:
        """Return the share of images that survive every ensemble measured at a radius.

        Raises:
            ValueError: no ensemble was measured there.
        """
        if survivors := self.withstood(eps):
            return wilson(sum(survivors), self.images)
        raise ValueError(f"eps {number(eps):g} was not measured: use {self._radii}, or evaluate with that eps")

    def result(self, attack: str, eps: float | str) -> Result:
        """Return the result of one ensemble.

        Raises:
            ValueError: it was not measured at this radius.
        """
        if found := [result for result in self.at(eps) if result.attack == attack]:
            return found[0]
        known = ", ".join(dict.fromkeys(result.attack for result in self.results))
        raise ValueError(f"{attack} at eps {number(eps):g} was not measured: known are {known} at {self._radii}")

    @property
    def _radii(self) -> str:
        return " or ".join(dict.fromkeys(result.within.spelled for result in self.results))

    @property
    def caution(self) -> str:
        """Why every figure is meaningless: the clean accuracy is not above chance; empty otherwise."""
        if self.classes is None or self.clean.value > 1 / self.classes:
            return ""
        return (
            f"clean accuracy is not above chance (1/{self.classes}), so robust accuracy means nothing: check that inputs are "
            "normalised once, that labels are those of the network, and that its weights are loaded"
        )

    def compare(self, other: Report, eps: float | str | None = None) -> Paired:
        """Compare the robust accuracy of this network with another's on the same samples, at one radius; if None, at the
        largest common one. With a report of an older version, only the number of samples can be checked.

        Raises:
            ValueError: protocol, attacks, rule, threat or samples differ, or there is no common radius.
        """
        return compared(self, other, eps)

    def save(self, folder: Path | str, name: str = "network") -> None:
        """Write ``report.json``, ``report.md`` and ``report.html`` into a folder, creating it if necessary.

        Arguments:
            name: name of the network in the report.

        Raises:
            ValueError: ``folder`` is the name of a file, such as ``my.html``, or the folder cannot be written.
        """
        from robustsnn.reporting import RunReport, versions, write_report  # a higher layer, which imports this module

        row = Row(network=name, report=self)
        write_report(RunReport(recipe={"name": name}, command="", versions=versions(), rows=(row,)), Path(folder))

    def to_frame(self) -> Any:
        """Return a pandas table with a row per ensemble and radius: ``attack``, ``threat``, ``eps``, ``clean``, ``robust``,
        and the 95 % interval of ``robust`` from ``low`` to ``high``. Raises ImportError if pandas is not installed."""
        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise ImportError("to_frame needs pandas, which is not installed: pip install pandas") from None
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

    def __repr__(self) -> str:
        """Return the table, which notebooks show."""
        return str(self)

    def __str__(self) -> str:
        """Return a readable table."""
        steps = f" of {self.timesteps} steps" if self.spiking else ""
        rows = [("clean", str(self.clean))]
        rows += [(f"{result.attack}, {result.within.spelled}", str(result.robust)) for result in self.results]
        for eps, shown in {result.eps: result.within.spelled for result in self.results}.items():
            rows += [(f"worst case, {shown}", str(self.worst(eps)))] * (len(self.at(eps)) > 1)
        width = max(len(name) for name, _ in rows)
        bad = [f"{check.name} {check.verdict}s" for check in self.audit if check.verdict != "pass"]
        audit = f"audit: {', '.join(bad) or 'passed'}" if self.audit else "not audited"
        head = f"{self.kind}{steps}, {self.images} samples, protocol {self.ruler}; {audit}"
        caution = [f"caution: {self.caution}"] if self.caution else []
        return "\n".join([head, *(f"{name:{width}}  {share}" for name, share in rows), *caution])


class Row(BaseModel, frozen=True):
    """One network of a run's report.

    Arguments:
        versions: software versions, if they differ from those of the whole report.
    """

    network: str
    report: Report
    versions: dict[str, str] = {}
