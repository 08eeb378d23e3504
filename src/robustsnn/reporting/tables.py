"""What a report says, as tables of words: for Markdown, the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from robustsnn.evaluation import PRESETS, Interval, Paired, Report, Result, wilson
from robustsnn.reporting.report import RunReport
from robustsnn.types import Threat

Table = tuple[list[str], list[list[str]]]
"""Head and rows, as many cells each."""


def columns(report: RunReport) -> list[tuple[str, Threat]]:
    """The (attack, threat) pairs that any network was measured on, in order of appearance."""
    return list(dict.fromkeys((result.attack, result.within) for row in report.rows for result in row.report.results))


def percent(interval: Interval, *, bounds: bool = True) -> str:
    """A share as percent, with its 95 % interval.

    >>> percent(Interval(value=0.5, low=0.4, high=0.6))
    '50.0 (40.0-60.0)'
    """
    text = f"{100 * interval.value:.1f}"
    return f"{text} ({100 * interval.low:.1f}-{100 * interval.high:.1f})" if bounds else text


def spelled(share: Interval) -> str:
    """A share as percent with its 95 % interval, as in a sentence."""
    return f"{100 * share.value:.1f}\N{NO-BREAK SPACE}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


def strongest(report: Report, eps: float) -> Result | None:
    """The one ensemble that leaves a network least at one epsilon; None where nothing was measured there."""
    return min(report.at(eps), key=lambda result: result.robust.value, default=None)


def attackers(report: Report, eps: float) -> str:
    """By what the images of `Report.worst` were attacked: every one of these ensembles."""
    names = [result.attack for result in report.at(eps)]
    return ", ".join(names) + " together" * (len(names) > 1)


def table(report: RunReport, *, bounds: bool = True) -> Table:
    """Head and rows of the accuracy table, in percent: clean, then the worst case per attack and epsilon."""
    pairs = columns(report)
    head = ["network", "clean", *(f"{attack} ε={threat.spelled}" for attack, threat in pairs)]
    rows = []
    for row in report.rows:
        measured = {(result.attack, result.within): result for result in row.report.results}
        cells = [percent(measured[pair].robust, bounds=bounds) if pair in measured else "-" for pair in pairs]
        rows.append([row.network, percent(row.report.clean, bounds=bounds), *cells])
    return head, rows


def layers(report: RunReport) -> Table:
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


def audits(report: RunReport) -> Table:
    """Head and rows of the audit, one line per check: verdict and figure for every network that was audited."""
    checked = [row for row in report.rows if row.report.audit]
    names = list(dict.fromkeys(check.name for row in checked for check in row.report.audit))
    found = {
        (row.network, check.name): f"{check.verdict} ({check.figure:.3g})" for row in checked for check in row.report.audit
    }
    head = ["check", *(row.network for row in checked)]
    return head, [[name, *(found.get((row.network, name), "-") for row in checked)] for name in names]


def meanings(report: RunReport) -> dict[str, str]:
    """What every check measures; where its words hold figures of one network, each network's own."""
    said: dict[str, dict[str, list[str]]] = {}
    for row in report.rows:
        for check in row.report.audit:
            said.setdefault(check.name, {}).setdefault(check.meaning, []).append(row.network)
    return {name: _together(texts) for name, texts in said.items()}


def audited(report: RunReport) -> str:
    """On how many images networks were audited, and by what, each network's own where they differ; empty where none was."""
    said: dict[str, list[str]] = {}
    for row in report.rows:
        said.setdefault(_thoroughness(row.report), []).append(row.network)
    return _together(said) if any(row.report.audit for row in report.rows) else ""


def _thoroughness(report: Report) -> str:
    how = report.audited
    if how is None:
        return "on how many images was not noted" if report.audit else "not at all"
    return f"on {how.images:,} images, with PGD of {how.steps:,} steps and Square and NES of {how.queries:,} queries each"


def _together(texts: dict[str, list[str]]) -> str:
    return "; ".join(text if len(texts) == 1 else f"{', '.join(networks)}: {text}" for text, networks in texts.items())


def pilots(report: RunReport) -> Table:
    """Head and rows of what every gradient path does alone: images broken, and images without any gradient, in percent."""
    piloted = [row for row in report.rows if row.report.pilot]
    names = list(dict.fromkeys(path for row in piloted for path in row.report.pilot))
    lines = []
    for name in names:
        figures = [row.report.pilot.get(name) for row in piloted]
        lines.append([name, *(f"{100 * f.broken:.1f} / {100 * f.zero_gradient:.1f}" if f else "-" for f in figures)])
    return ["gradient path", *(row.network for row in piloted)], lines


def apart(one: Sequence[bool], other: Sequence[bool]) -> str:
    """Whether two networks differ by more than chance on the same images, by the images that each gets right."""
    if len(one) != len(other):
        return "measured on other images"
    pair = Paired.of(one, other)
    return f"{'' if pair.told_apart else 'not '}told apart on the same images (McNemar, p = {pair.p:.2g})"


def failures(report: RunReport) -> list[str]:
    """A line for every check that failed."""
    return [
        f"{row.network}: check {check.name!r} failed: {check.meaning}: {check.figure:.3g}"
        for row in report.rows
        for check in row.report.audit
        if check.verdict == "fail"
    ]


def warned(report: RunReport) -> list[str]:
    """A line for every network of which checks warn."""
    found = {row.network: [repr(check.name) for check in row.report.audit if check.verdict == "warn"] for row in report.rows}
    return [f"{network}: warned by {', '.join(checks)}" for network, checks in found.items() if checks]


def elsewhere(report: RunReport) -> list[str]:
    """A line for every network that was measured with other versions than the first ones of the report."""
    return [
        f"{row.network} was measured with {', '.join(f'{what} {version}' for what, version in row.versions.items())}"
        for row in report.rows
        if row.versions
    ]


def costs(report: RunReport) -> Table:
    """Head and rows of what the attacks cost, per image that had to be attacked; where an ensemble has several attacks also in
    units of its first one, which `rigorous` begins with PGD-20 along all the published paths."""
    head = ["network", "attack", "gradients per image", "queries per image", "times its first attack"]
    rows = []
    for row in report.rows:
        for result in row.report.results:
            if not result.gradients or not result.attacked:
                continue
            _, of_the_first = next(groupby(result.members, lambda member: member.partition(" along ")[0]))
            first = sum(result.gradients[: len(list(of_the_first))])
            times = f"{(sum(result.gradients) + sum(result.queries) / 3) / first:.1f}" if first else "-"
            each = [f"{sum(counted) / result.attacked:.1f}" for counted in (result.gradients, result.queries)]
            rows.append([row.network, f"{result.attack} ε={result.within.spelled}", *each, times])
    shown = len(head) - all(row[-1] == "-" for row in rows)
    return head[:shown], [row[:shown] for row in rows]


def summary(report: RunReport, *, bounds: bool = True) -> str:
    """A line or two that say how the figures were made; ``bounds``: they stand with their intervals."""
    if not report.rows:
        return "Nothing was measured yet."
    first = report.rows[0].report
    rules = sorted({result.rule for row in report.rows for result in row.report.results})
    members = max((len(result.members) for row in report.rows for result in row.report.results), default=0)
    interval = " (Wilson 95 % interval)" if bounds else ""
    unaudited = (
        "" if audited(report) else " Not audited: whether the attacks were hindered, and the figures are too high, is open."
    )
    return (
        f"Protocol {first.ruler}, rule {', '.join(rules)}: accuracy in percent{interval} over {first.images} test images; "
        f"an image is robust only if it survives all members of an ensemble, here up to {members} (an ANN has one gradient "
        f"path). {first.results[0].within.words}, seed {first.seed}.{unaudited}"
    )


def over_time(report: RunReport) -> Table:
    """Head and rows of clean accuracy in percent after every time step, one line per spiking network."""
    rows = [row for row in report.rows if row.report.correct_over_time]
    steps = max((len(row.report.correct_over_time) for row in rows), default=0)
    lines = []
    for row in rows:
        shares = [percent(wilson(hits, row.report.images), bounds=False) for hits in row.report.correct_over_time]
        lines.append([row.network, str(row.report.timesteps), *shares, *["-"] * (steps - len(shares))])
    return ["network", "made for", *(str(t + 1) for t in range(steps))], lines


def energies(report: RunReport) -> Table:
    """Head and rows of synaptic operations and energy per image, one line per network, with its share of the ANN's energy."""
    head = ["network", "multiply-accumulates", "accumulates", *(f"nJ, {name.partition(',')[0]}" for name in PRESETS)]
    return head, [[row.network, *_spent(row.report)] for row in report.rows if row.report.operations]


def _spent(report: Report) -> list[str]:
    layers = report.operations.values()
    cells = [f"{sum(layer.macs for layer in layers):,.0f}", f"{sum(layer.acs for layer in layers):,.0f}"]
    for joules in PRESETS.values():
        spent, ann = joules(report.operations), joules.ann(report.operations)
        cells.append(f"{spent:,.4g} ({100 * spent / ann:.3g} %)" if ann else "-")
    return cells


def operations(report: RunReport) -> Table:
    """Head and rows of the synaptic operations per image, one line per layer of weights."""
    counted = [row for row in report.rows if row.report.operations]
    names = list(dict.fromkeys(name for row in counted for name in row.report.operations))
    return ["layer", *(row.network for row in counted)], [
        [name, *(_done(row.report, name) for row in counted)] for name in names
    ]


def _done(report: Report, name: str) -> str:
    layer = report.operations.get(name)
    if layer is None:
        return "-"
    parts = [f"{count:,.0f} {what}" for count, what in ((layer.macs, "MAC"), (layer.acs, "AC")) if count]
    return " + ".join(parts) or "0"
