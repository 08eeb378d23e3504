"""The report for people who read text, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.reporting.report import RunReport
from robustsnn.reporting.tables import audits, costs, energies, layers, meanings, over_time, pilots, summary, table

ALONE = "PGD-5 on a few images at the largest epsilon, in percent: broken / without any gradient."
TIME = "Clean accuracy in percent after each time step, by the same weights and thresholds, also beyond those it was made for."
SPENT = (
    "Per image, over all time steps: multiply-accumulates (MAC) of layers fed by analog values, and accumulates (AC) of "
    "layers fed by spikes, one per spike and synapse. Energy of this arithmetic at 45 nm (Horowitz, ISSCC 2014), and its "
    "share of what the ANN of the same layers needs. Memory, norms and the updates of neurons are not counted."
)
COST = "Forward passes with and without a gradient. In the last column a query counts as a third of a gradient."


def markdown(report: RunReport) -> str:
    """The report for people, as Markdown."""
    parts = [f"# {report.recipe.get('name', 'run')}", summary(report), _markdown(*table(report))]
    if any(row.report.thresholds for row in report.rows):
        parts += ["## Thresholds and firing rates", "Rates are spikes per neuron and time step.", _markdown(*layers(report))]
    if over_time(report)[1]:
        parts += ["## Time steps", TIME, _markdown(*over_time(report))]
    if energies(report)[1]:
        parts += ["## Energy", SPENT, _markdown(*energies(report))]
    if pilots(report)[1]:
        parts += ["## Gradient paths alone", ALONE, _markdown(*pilots(report))]
    if any(row.report.audit for row in report.rows):
        parts += ["## Audit", "Verdict and figure of every check.", _markdown(*audits(report))]
        parts += ["\n".join(f"- {name}: {meaning}" for name, meaning in meanings(report).items())]
    if costs(report)[1]:
        parts += ["## Cost", COST, _markdown(*costs(report))]
    parts += [f"Made by `{report.command}` with " + ", ".join(f"{k} {v}" for k, v in report.versions.items()) + "."]
    return "\n\n".join(parts) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |" for line in lines)
