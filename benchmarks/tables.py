"""Tables that pages of results have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.measured import found
from benchmarks.pages import markdown
from benchmarks.plan import PLAN
from robustsnn.evaluation import PRESETS, Interval, percent, wilson
from robustsnn.evaluation.measures import ENERGY, LATENCY, LAYERS


def shown(lines: Sequence[Sequence[str]]) -> str:
    """A table, its head first, or that it is not there yet."""
    return markdown(lines) if len(lines) > 1 else "Not measured yet."


def cell(share: Interval | None) -> str:
    """A share in a table."""
    return "-" if share is None else percent(share)


def thresholds(rows: Iterable[str]) -> list[list[str]]:
    """Thresholds as calibrated times the scale, and as finetuned."""
    lines = [["network", "seed", "layer", "after conversion", "after finetuning"]]
    for each in found(name for name in rows if PLAN[name].network == "snn"):
        scale = next(iter(each.runs.values())).recipe["conversion"]["scale"]
        layers = each.report.found(LAYERS)
        for layer, after in layers.thresholds.items() if layers else ():
            before = each.made["calibrated"].get(layer)
            lines.append(
                [each.row.what, str(each.seed), layer, "1" if before is None else f"{scale * before:.3f}", f"{after:.3f}"]
            )
    return lines


def energy(rows: Iterable[str]) -> list[list[str]]:
    """Energy per image, by preset, against the ANN of the same layers."""
    lines = [["network", "seed", *(f"{name}: SNN / ANN (µJ)" for name in PRESETS)]]
    for each in found(rows):
        if spends := each.report.found(ENERGY):
            layers = spends.operations
            spent = [f"{j(layers) / 1000:.2f} / {j.ann(layers) / 1000:.2f}" for j in PRESETS.values()]
            lines.append([each.row.what, str(each.seed), *spent])
    return lines


def over_time(rows: Iterable[str]) -> list[list[str]]:
    """Clean accuracy after each time step, by the same weights."""
    there = [(each, latency.correct) for each in found(rows) if (latency := each.report.found(LATENCY))]
    steps = max((len(correct) for _, correct in there), default=0)
    lines = [["network", "seed", *(f"t = {step + 1}" for step in range(steps))]]
    for each, correct in there:
        shares = [percent(wilson(hits, each.report.images), bounds=False) for hits in correct]
        lines.append([each.row.what, str(each.seed), *shares, *["-"] * (steps - len(shares))])
    return lines


def audits(rows: Iterable[str]) -> list[list[str]]:
    """Checks that did not pass."""
    lines = [["network", "seed", "ε", "robust images", "checks passed", "warnings and failures"]]
    for each in found(rows):
        for report in (run.rows[0].report for run in each.runs.values() if run.rows[0].report.protocol == "rigorous"):
            if report.audit:
                wrong = "; ".join(f"`{c.name}` {c.verdict}s ({c.figure:.3g})" for c in report.audit if c.verdict != "pass")
                (result,) = report.results
                left = f"{result.survivors} of {result.attacked}"
                passed = str(sum(c.verdict == "pass" for c in report.audit))
                lines.append([each.row.what, str(each.seed), result.within.spelled, left, passed, wrong or "none"])
    return lines
