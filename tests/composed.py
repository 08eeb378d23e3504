"""Reports made by hand: what measures found, given by the names of their figures."""

from __future__ import annotations

from typing import Any

from robustsnn.evaluation import MEASURES, Report
from robustsnn.evaluation.measure import Table
from robustsnn.reporting import RunReport

PLACES = {
    "results": ("worst_case", "results"),
    "examples": ("examples", "shown"),
    "pilot": ("pilot", "paths"),
    "audit": ("audit", "checks"),
    "correct_over_time": ("latency", "correct"),
    "steps": ("latency", "steps"),
    "thresholds": ("layers", "thresholds"),
    "firing_rates": ("layers", "firing_rates"),
    "weights": ("layers", "weights"),
    "operations": ("energy", "operations"),
}
"""Of a figure the measure that finds it, and its name there."""


def composed(**fields: Any) -> Report:
    """A report of these figures and fields; ``protocol`` and the audit's numbers are settings."""
    layers = {"thresholds": {}, "firing_rates": {}, "weights": (1, 1)}
    usual = {"settings": {}, "seed": 0, "timesteps": None, "measured": {"layers": layers}, "seconds": 1.0}
    return Report.model_validate(_placed(usual, fields))


def changed(report: Report, **fields: Any) -> Report:
    """A report with other figures or fields; a figure that is empty is not there."""
    return Report.model_validate(_placed(report.model_dump(), fields))


def _placed(table: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        value = [each.model_dump() if hasattr(each, "model_dump") else each for each in value] if _many(value) else value
        if name == "protocol" or name.startswith("audit_"):
            table["settings"][name] = value
        elif name not in PLACES:
            table[name] = value
        elif value or name in ("thresholds", "firing_rates"):
            measure, figure = PLACES[name]
            table["measured"].setdefault(measure, {})[figure] = value
        else:
            table["measured"].pop(PLACES[name][0], None)
    latency = table["measured"].get("latency")
    if latency:
        latency.setdefault("steps", table["timesteps"])
    return table


def _many(value: Any) -> bool:
    return isinstance(value, list | tuple)


def figure(report: Report, name: str) -> Any:
    """One of the figures; None where it was not found."""
    measure, inside = PLACES[name]
    return getattr(report.measured.get(measure), inside, None)


def told(key: str, report: RunReport) -> Table:
    """The table of a section, also of one that is left out for want of rows."""
    (found,) = (s.table for measure in MEASURES.values() for s in measure.sections(report.rows) if s.key == key)
    return found
