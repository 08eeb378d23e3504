"""The report of a run: a value that becomes JSON and comes back, and a Markdown table of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from robustsnn.evaluation import MISCLASSIFIED, Interval, Report
from robustsnn.training import Epoch


class Row(BaseModel):
    """One network of the run and what was measured on it."""

    model_config = ConfigDict(frozen=True)
    network: str
    report: Report


class RunReport(BaseModel):
    """What a run gave.

    Arguments:
        recipe: the whole recipe, as a table.
        command: what makes the same run again.
        versions: of Python and the libraries that matter, and the kind of processor.
        rows: the networks, in the order of the pipeline.
        curves: training figures by stage, one per epoch.
    """

    model_config = ConfigDict(frozen=True)
    recipe: dict[str, Any]
    command: str
    versions: dict[str, str]
    rows: tuple[Row, ...] = ()
    curves: dict[str, tuple[Epoch, ...]] = {}

    def to_json(self) -> bytes:
        """The report as indented JSON."""
        return self.model_dump_json(indent=1).encode()


def read_report(text: bytes, where: object) -> RunReport:
    """A report from its JSON.

    Raises:
        ValueError: text that is no report; ``where`` names its place in the line.
    """
    try:
        return RunReport.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{where} is no report of this version ({first_error(error)}): evaluate the run again") from None


def first_error(error: ValidationError) -> str:
    """The first complaint of pydantic, as ``key: what``."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}" if key else first["msg"]


def versions() -> dict[str, str]:
    """What the figures were made with."""
    return {
        "robustsnn": importlib.metadata.version("robustsnn"),
        "source": source(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


@cache
def source() -> str:
    """A short text that changes with any line of this package's source."""
    state = hashlib.blake2b(digest_size=8)
    folder = Path(__file__).parents[1]
    for file in sorted(folder.rglob("*.py")):
        state.update(f"{file.relative_to(folder)}".encode() + file.read_bytes())
    return state.hexdigest()


def columns(report: RunReport) -> list[tuple[str, float]]:
    """The (attack, eps) pairs that any network was measured on, in order of appearance."""
    return list(dict.fromkeys((result.attack, result.eps) for row in report.rows for result in row.report.results))


def radius(eps: float) -> str:
    """An epsilon as people write it.

    >>> radius(8 / 255), radius(0.01)
    ('8/255', '0.01')
    """
    levels = eps * 255
    return f"{round(levels)}/255" if levels > 0.5 and math.isclose(levels, round(levels), rel_tol=1e-6) else f"{eps:.3g}"


def percent(interval: Interval, *, bounds: bool = True) -> str:
    """A share as percent, with its 95 % interval.

    >>> percent(Interval(value=0.5, low=0.4, high=0.6))
    '50.0 (40.0-60.0)'
    """
    text = f"{100 * interval.value:.1f}"
    return f"{text} ({100 * interval.low:.1f}-{100 * interval.high:.1f})" if bounds else text


def table(report: RunReport, *, bounds: bool = True) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the accuracy table, in percent: clean, then the worst case per attack and epsilon."""
    pairs = columns(report)
    head = ["network", "clean", *(f"{attack} ε={radius(eps)}" for attack, eps in pairs)]
    rows = []
    for row in report.rows:
        measured = {(result.attack, result.eps): result for result in row.report.results}
        cells = [percent(measured[pair].robust, bounds=bounds) if pair in measured else "-" for pair in pairs]
        rows.append([row.network, percent(row.report.clean, bounds=bounds), *cells])
    return head, rows


def layers(report: RunReport) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of thresholds and firing rates, one line per layer of neurons; of sparse networks also the
    weights that need to be stored."""
    spiking = [row for row in report.rows if row.report.thresholds]
    head = ["neurons", *(f"{row.network}: threshold / rate" for row in spiking)]
    names = list(dict.fromkeys(name for row in spiking for name in row.report.thresholds))
    rows = [[name, *(_layer(row.report, name) for row in spiking)] for name in names]
    weights = [row.report.weights for row in spiking]
    if any(stored < count for stored, count in weights):
        rows.append(["weights that are not 0", *(f"{stored:,} of {count:,}" for stored, count in weights)])
    return head, rows


def _layer(report: Report, name: str) -> str:
    if name not in report.thresholds:
        return "-"
    return f"{report.thresholds[name]:.3f} / {report.firing_rates.get(name, math.nan):.3f}"


def audits(report: RunReport) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the audit, one line per check: verdict and figure for every network that was audited."""
    audited = [row for row in report.rows if row.report.audit]
    names = list(dict.fromkeys(check.name for row in audited for check in row.report.audit))
    found = {
        (row.network, check.name): f"{check.verdict} ({check.figure:.3g})" for row in audited for check in row.report.audit
    }
    head = ["check", *(row.network for row in audited)]
    return head, [[name, *(found.get((row.network, name), "-") for row in audited)] for name in names]


def pilots(report: RunReport) -> tuple[list[str], list[list[str]]]:
    """Head and rows of what every gradient path does alone: images broken, and images without any gradient, in percent."""
    piloted = [row for row in report.rows if row.report.pilot]
    names = list(dict.fromkeys(path for row in piloted for path in row.report.pilot))
    lines = []
    for name in names:
        figures = [row.report.pilot.get(name) for row in piloted]
        lines.append([name, *(f"{100 * f.broken:.1f} / {100 * f.zero_gradient:.1f}" if f else "-" for f in figures)])
    return ["gradient path", *(row.network for row in piloted)], lines


def failures(report: RunReport) -> list[str]:
    """A line for every check that failed."""
    return [
        f"{row.network}: check {check.name!r} failed: {check.meaning}: {check.figure:.3g}"
        for row in report.rows
        for check in row.report.audit
        if check.verdict == "fail"
    ]


def costs(report: RunReport) -> tuple[list[str], list[list[str]]]:
    """Head and rows of what the attacks cost, per image that had to be attacked; for an ensemble of several attacks also in
    units of its first one, which `rigorous` begins with PGD-20 along all the published paths."""
    head = ["network", "attack", "gradients per image", "queries per image", "times its first attack"]
    rows = []
    for row in report.rows:
        for result in row.report.results:
            attacked = sum(broken != MISCLASSIFIED for broken in result.broken_by)
            if not result.gradients or not attacked:
                continue
            kind = result.members[0].partition(" along ")[0]
            first = sum(
                g for g, name in zip(result.gradients, result.members, strict=True) if name.startswith(f"{kind} along ")
            )
            times = f"{(sum(result.gradients) + sum(result.queries) / 3) / first:.1f}" if first else "-"
            each = [f"{sum(counted) / attacked:.1f}" for counted in (result.gradients, result.queries)]
            rows.append([row.network, f"{result.attack} ε={radius(result.eps)}", *each, times])
    return head, rows


def summary(report: RunReport, *, bounds: bool = True) -> str:
    """A line or two that say how the figures were made; ``bounds``: they stand with their intervals."""
    if not report.rows:
        return "Nothing was measured yet."
    first = report.rows[0].report
    rules = sorted({result.rule for row in report.rows for result in row.report.results})
    members = max((len(result.members) for row in report.rows for result in row.report.results), default=0)
    interval = " (Wilson 95 % interval)" if bounds else ""
    return (
        f"Protocol {first.protocol}, rule {', '.join(rules)}: accuracy in percent{interval} over {first.images} test images; "
        f"an image is robust only if it survives all members of an ensemble, here up to {members} (an ANN has one gradient "
        f"path). L-infinity, pixels in [0, 1], seed {first.seed}."
    )


ALONE = "PGD-5 on a few images at the largest epsilon, in percent: broken / without any gradient."
COST = "Forward passes with and without a gradient. In the last column a query counts as a third of a gradient."


def markdown(report: RunReport) -> str:
    """The report for people, as Markdown."""
    parts = [f"# {report.recipe.get('name', 'run')}", summary(report), _markdown(*table(report))]
    if any(row.report.thresholds for row in report.rows):
        parts += ["## Thresholds and firing rates", "Rates are spikes per neuron and time step.", _markdown(*layers(report))]
    if pilots(report)[1]:
        parts += ["## Gradient paths alone", ALONE, _markdown(*pilots(report))]
    if any(row.report.audit for row in report.rows):
        meanings = {check.name: check.meaning for row in report.rows for check in row.report.audit}
        parts += ["## Audit", "Verdict and figure of every check.", _markdown(*audits(report))]
        parts += ["\n".join(f"- {name}: {meaning}" for name, meaning in meanings.items())]
    if costs(report)[1]:
        parts += ["## Cost", COST, _markdown(*costs(report))]
    parts += [f"Made by `{report.command}` with " + ", ".join(f"{k} {v}" for k, v in report.versions.items()) + "."]
    return "\n\n".join(parts) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |" for line in lines)
