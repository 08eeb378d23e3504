"""The section of a report on lower bounds: certified accuracy, apart from all figures of attacks."""

from __future__ import annotations

from collections.abc import Iterator

from robustsnn.certification import Certified, GaussianCertificates, IntervalCertificates, SparseCertificates
from robustsnn.evaluation import PRESETS, Curves, Interval, Section, percent, wilson
from robustsnn.evaluation.measures import ENERGY
from robustsnn.evaluation.measures.energy import amount
from robustsnn.reporting.report import RunReport
from robustsnn.threats import L2, Linf
from robustsnn.threats import threat as built
from robustsnn.types import Threat

RADII = (*(L2(radius) for radius in (0.25, 0.5, 0.75, 1.0)), *(Linf(eps) for eps in (2 / 255, 4 / 255, 8 / 255, 0.05, 0.1)))
"""Where tables state the certified accuracy of Gaussian smoothing, as far as its noise can reach."""
PAIRS = ((1, 0), (0, 1), (1, 1), (2, 2), (5, 5), (0, 5), (0, 10), (0, 20))
"""Additions and deletions at which tables state that of sparse smoothing, as far as its table reaches."""
POINTS = 25
"""Number of radii of a curve."""

ABOUT = (
    "Certified accuracy in percent (Wilson 95 % interval): samples that are classified correctly with a certificate that no "
    "change within the threat, by any attack, alters that; without a threat, all that are classified correctly. It is a lower "
    "bound; accuracies under attacks are upper bounds, of other tables. Smoothing certifies another network, which votes over "
    "noisy copies, and only up to a risk; where it abstains, the sample counts as wrong. Intervals prove the network itself."
)


def lower_bounds(report: RunReport) -> list[Section]:
    """Return the section on lower bounds; empty if nothing was certified."""
    lines, notes = [], {}
    for name, found in report.lower_bounds.items():
        briefs = [_brief(each) for each in found]
        for each, brief in zip(found, briefs, strict=True):
            method = brief if briefs.count(brief) == 1 else each.method
            lines += [[name, method, threat, percent(share)] for threat, share in stated(each)]
            notes[f"{name}, {each.method}"] = f"{_cost(report, name, each)}; {_risk(each)}"
    table = ["network", "method", "threat", "certified"], lines
    figures = tuple(figure for figure in _figures(report) if any(figure.values))
    tables = [_table(name, each) for name, each in _sparse(report)]
    return [Section("bounds", "Lower bounds", ABOUT, table, notes, figures, tables[0] if tables else None)]


def stated(found: Certified) -> Iterator[tuple[str, Interval]]:
    """Yield the threats at which a table states certified accuracy, in words, and the accuracy."""
    count = len(found.labels)
    yield "none", wilson(sum(found.correct), count)
    match found:
        case GaussianCertificates():
            for threat in RADII:
                if found.reach(threat) < found.largest:
                    yield worded(threat), wilson(sum(found.certified(threat)), count)
        case SparseCertificates():
            for additions, deletions in PAIRS:
                if additions <= found.most[0] and deletions <= found.most[1]:
                    yield f"+{additions} -{deletions} events", wilson(sum(found.changed(additions, deletions)), count)
        case IntervalCertificates():
            for text, robust in zip(found.threats, found.robust, strict=True):
                yield worded(built(text)), wilson(sum(robust), count)


def worded(threat: Threat) -> str:
    """Return a threat as tables write it, with its norm."""
    return f"Linf {threat.spelled}" if type(threat) is Linf else threat.spelled


def _brief(found: Certified) -> str:
    """Return a method without the settings that change only cost and certainty."""
    match found:
        case GaussianCertificates():
            return f"Smoothing({found.sigma:g})"
        case SparseCertificates():
            return f"SparseSmoothing({found.plus:g}, {found.minus:g})"
        case IntervalCertificates():
            return "Intervals"


def _risk(found: Certified) -> str:
    if not found.alpha:
        return "a proof, without risk"
    return (
        f"abstains for {100 * found.abstained / len(found.labels):.1f} % of {len(found.labels)} samples; probability that a "
        f"certificate is wrong: at most {found.alpha:g} per sample, and {found.family_alpha:.2g} that any is; at most "
        f"{found.expected_wrong:.2g} wrong ones are expected"
    )


def _cost(report: RunReport, name: str, each: Certified) -> str:
    energy = next((row.report.found(ENERGY) for row in report.rows if row.network == name), None)
    preset, joules = next(iter(PRESETS.items()))
    one = joules(energy.operations) if energy else each.nanojoules
    spent = "" if one is None else f" ({amount(each.passes * one / 1000)} µJ, {preset.partition(',')[0]})"
    return f"{each.passes:,} forward passes per sample{spent}"


def _figures(report: RunReport) -> Iterator[Curves]:
    """Yield certified accuracy over the L2 radius, one curve per network smoothed by Gaussian noise."""
    curves = []
    for name in report.networks:
        found = [each for each in report.lower_bounds.get(name, ()) if isinstance(each, GaussianCertificates)]
        curves.append({} if not found else curve(found[0]))
    label = "Certified accuracy of smoothed networks over the L2 radius; the table below contains values."
    yield Curves("L2 radius", tuple(curves), label, f"{label.partition(';')[0]}. Whiskers: Wilson 95 % intervals.")


def curve(found: GaussianCertificates) -> dict[float, Interval]:
    """Return certified accuracy over the L2 radius, up to the largest that the noise can certify."""
    places = [found.largest * i / POINTS for i in range(POINTS + 1)]
    return {place: wilson(sum(found.certified(L2(place))), len(found.labels)) for place in places}


def _sparse(report: RunReport) -> Iterator[tuple[str, SparseCertificates]]:
    for name, found in report.lower_bounds.items():
        yield from ((name, each) for each in found if isinstance(each, SparseCertificates))


def _table(name: str, found: SparseCertificates) -> tuple[str, tuple[list[str], list[list[str]]]]:
    about = f"{name}: certified accuracy in percent by number of added (rows) and deleted events (columns), {found.method}."
    head = ["added", *(f"-{deleted}" for deleted in range(found.most[1] + 1))]
    rows = [[f"+{a}", *(f"{100 * share:.1f}" for share in row)] for a, row in enumerate(found.accuracies)]
    return about, (head, rows)
