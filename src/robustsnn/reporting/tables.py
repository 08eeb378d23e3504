"""What a report says of its networks beside one another, in words: for Markdown, the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.evaluation import MEASURES, Interval, Paired, Report, Section, percent
from robustsnn.evaluation.measure import Table
from robustsnn.reporting.report import RunReport
from robustsnn.types import Threat


def columns(report: RunReport) -> list[tuple[str, Threat]]:
    """The (attack, threat) pairs that any network was measured on, in order of appearance."""
    return list(dict.fromkeys((result.attack, result.within) for row in report.rows for result in row.report.results))


def spelled(share: Interval) -> str:
    """A share as percent with its 95 % interval, as in a sentence."""
    return f"{100 * share.value:.1f}\N{NO-BREAK SPACE}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


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


def parts(report: RunReport) -> dict[str, list[Section]]:
    """What every measure says beyond the table of accuracy, by its name; no section that would be empty."""
    told = {name: measure.sections(report.rows) for name, measure in MEASURES.items()}
    return {name: [section for section in sections if section.table[1]] for name, sections in told.items()}


def sections(report: RunReport) -> dict[str, Section]:
    """The same by the keys of the sections."""
    return {section.key: section for sections in parts(report).values() for section in sections}


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


def summary(report: RunReport, *, bounds: bool = True) -> str:
    """A line or two that say how the figures were made; ``bounds``: they stand with their intervals."""
    if not report.rows:
        return "Nothing was measured yet."
    first = report.rows[0].report
    rules = sorted({result.rule for row in report.rows for result in row.report.results})
    members = max((len(result.members) for row in report.rows for result in row.report.results), default=0)
    interval = " (Wilson 95 % interval)" if bounds else ""
    audited = any(row.report.audit for row in report.rows)
    unaudited = "" if audited else " Not audited: whether the attacks were hindered, and the figures are too high, is open."
    return (
        f"Protocol {first.ruler}, rule {', '.join(rules)}: accuracy in percent{interval} over {first.images} test images; "
        f"an image is robust only if it survives all members of an ensemble, here up to {members} (an ANN has one gradient "
        f"path). {first.results[0].within.words}, seed {first.seed}.{unaudited}"
    )
