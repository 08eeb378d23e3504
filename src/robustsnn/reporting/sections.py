"""What a report says in tables, in order, each with the words that explain it: the same in Markdown, terminal and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robustsnn.reporting.report import RunReport
from robustsnn.reporting.retention import retention
from robustsnn.reporting.tables import Table, audited, audits, costs, energies, layers, meanings, over_time, pilots

KEPT = (
    "What spiking costs: the worst case of a spiking network over that of its ANN, both by all attacks at that radius "
    "(in parentheses both, in percent). 1 keeps all of the robustness; an ANN has one gradient path, a spiking network many."
)
TIME = "Clean accuracy in percent after each time step, by the same weights and thresholds, also beyond those it was made for."
SPENT = (
    "Per image, over all time steps: multiply-accumulates (MAC) of layers fed by analog values, and accumulates (AC) of "
    "layers fed by spikes, one per spike and synapse. Energy of this arithmetic at 45 nm (Horowitz, ISSCC 2014), and its "
    "share of what the ANN of the same layers needs. Memory, norms and the updates of neurons are not counted."
)
ALONE = "PGD-5 on a few images at the largest epsilon, in percent: broken / without any gradient."
COST = (
    "Forward passes with and without a gradient, per image that had to be attacked. Where an ensemble has several attacks, "
    "also as times its first one; a query counts as a third of a gradient."
)


@dataclass(frozen=True)
class Section:
    """A table with its title and explanation; ``notes``: what its lines mean, by their names."""

    title: str
    about: str
    table: Table
    notes: Mapping[str, str] = field(default_factory=dict)


def sections(report: RunReport) -> dict[str, Section]:
    """The tables beyond that of accuracy, by name; none that would be empty."""
    rates = "Rates are spikes per neuron and time step; thresholds are means over a layer."
    checks = f"Does the number mean anything? Verdict and figure of every check. Audited: {audited(report)}."
    found = {
        "retention": Section("Retention", KEPT, retention(report)),
        "layers": Section("Thresholds and firing rates", rates, layers(report)),
        "time": Section("Time steps", TIME, over_time(report)),
        "energy": Section("Energy", SPENT, energies(report)),
        "alone": Section("Gradient paths alone", ALONE, pilots(report)),
        "audit": Section("Audit", checks, audits(report), meanings(report)),
        "cost": Section("What the attacks cost", COST, costs(report)),
    }
    return {name: section for name, section in found.items() if section.table[1]}
