"""Tables and sentences of a report, for Markdown, terminal and HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.evaluation import MEASURES, Interval, Paired, Report, Section, percent
from robustsnn.evaluation.measure import Table
from robustsnn.evaluation.results import titled
from robustsnn.reporting.bounds import lower_bounds
from robustsnn.reporting.report import RunReport
from robustsnn.types import Threat


def columns(report: RunReport) -> list[tuple[str, Threat]]:
    """Return the (attack, threat) pairs of all networks, in order of appearance."""
    return list(dict.fromkeys((result.attack, result.within) for row in report.rows for result in row.report.results))


def spelled(share: Interval) -> str:
    """Format a share in percent with its 95 % interval, for sentences."""
    return f"{100 * share.value:.1f}\N{NO-BREAK SPACE}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


def attackers(report: Report, eps: float) -> str:
    """Name the ensembles at a radius, all of which an image must survive to count in `Report.worst`."""
    *others, last = (result.attack for result in report.at(eps))
    return f"{', '.join(others)} and {last} combined" if others else last


def table(report: RunReport, *, bounds: bool = True) -> Table:
    """Return the accuracy table, in percent: clean, then the worst case per attack and radius."""
    pairs = columns(report)
    head = ["network", "clean", *(titled(attack, threat) for attack, threat in pairs)]
    rows = []
    for row in report.rows:
        measured = {(result.attack, result.within): result for result in row.report.results}
        cells = [percent(measured[pair].robust, bounds=bounds) if pair in measured else "-" for pair in pairs]
        rows.append([row.network, percent(row.report.clean, bounds=bounds), *cells])
    return head, rows


def parts(report: RunReport) -> dict[str, list[Section]]:
    """Return the sections of every measure, by its name, without empty ones."""
    told = {name: measure.sections(report.rows) for name, measure in MEASURES.items()}
    return {name: [section for section in sections if section.table[1]] for name, sections in told.items()}


def sections(report: RunReport) -> dict[str, Section]:
    """Return all sections by their keys."""
    found = [*parts(report).values(), bounded(report)]
    return {section.key: section for sections in found for section in sections}


def bounded(report: RunReport) -> list[Section]:
    """Return the section on lower bounds, if there are any."""
    return [section for section in lower_bounds(report) if section.table[1]]


def apart(one: Sequence[bool], other: Sequence[bool]) -> str:
    """Say whether two networks differ significantly, given the images that each gets right."""
    if len(one) != len(other):
        return "measured on different samples"
    pair = Paired.of(one, other)
    return f"{'' if pair.told_apart else 'no '}significant difference on the same samples (McNemar, p = {pair.p:.2g})"


def failures(report: RunReport) -> list[str]:
    """Return a line per failed check."""
    return [
        f"{row.network}: check {check.name!r} failed: {check.meaning}: {check.figure:.3g}"
        for row in report.rows
        for check in row.report.audit
        if check.verdict == "fail"
    ]


def warned(report: RunReport) -> list[str]:
    """Return a line per network with warnings."""
    found = {row.network: [repr(check.name) for check in row.report.audit if check.verdict == "warn"] for row in report.rows}
    return [f"{network}: warnings: {', '.join(checks)}" for network, checks in found.items() if checks]


def cautions(report: RunReport) -> list[str]:
    """Return a line per network whose figures are meaningless."""
    return [f"{row.network}: {row.report.caution}" for row in report.rows if row.report.caution]


def elsewhere(report: RunReport) -> list[str]:
    """Return a line per network that was measured with versions other than the report's."""
    return [
        f"{row.network} was measured with {', '.join(f'{what} {version}' for what, version in row.versions.items())}"
        for row in report.rows
        if row.versions
    ]


def summary(report: RunReport, *, bounds: bool = True) -> str:
    """Describe how accuracies were measured; ``bounds``: they are shown with intervals."""
    if not report.rows:
        return "Lower bounds only: no attack was measured." if report.lower_bounds else "No results yet."
    first = report.rows[0].report
    rules = sorted({result.rule for row in report.rows for result in row.report.results})
    members = max((len(result.members) for row in report.rows for result in row.report.results), default=0)
    words = first.results[0].within.words
    interval = " (Wilson 95 % interval)" if bounds else ""
    audited = any(row.report.audit for row in report.rows)
    unaudited = "" if audited else " Not audited: gradient masking is not excluded, so accuracies may be too high."
    about = f" Data: {report.note}." if report.note else ""
    return (
        f"Protocol {first.ruler}, rule {', '.join(rules)}: accuracy in percent{interval} over {first.images} test samples. "
        f"Columns are ensembles of up to {members} attacks, each along one gradient path (an ANN has one); a sample counts as "
        f"robust only if it survives all of them. {words[0].upper()}{words[1:]}, seed {first.seed}.{about}{unaudited}"
    )
