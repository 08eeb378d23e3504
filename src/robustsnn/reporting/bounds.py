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
    "change within the threat, by any attack, alters that. It is a lower bound; accuracies under attacks are upper bounds, of "
    "other tables. Smoothing certifies another network, which votes over noisy copies, and only up to a risk; where it "
    "abstains, the sample counts as wrong. Intervals prove the network itself."
)
NOTES = {
    "risk": "probability that the certificate of one sample is wrong; expected number of wrong ones; upper bound on the "
    "probability that any is wrong. 0 for a proof.",
    "passes": "forward passes per sample.",
}


def lower_bounds(report: RunReport) -> list[Section]:
    """Return the section on lower bounds; empty if nothing was certified."""
    energy = next(iter(PRESETS))
    head = ["network", "method", "threat", "certified", "abstains", "risk", "passes", f"µJ, {energy.partition(',')[0]}"]
    lines = []
    for name, found in report.lower_bounds.items():
        for each in found:
            abstains = f"{100 * each.abstained / len(each.labels):.1f}"
            cost = [f"{each.passes:,}", _energy(report, name, each)]
            for threat, share in stated(each):
                lines.append([name, each.method, threat, percent(share), abstains, _risk(each), *cost])
    figures = tuple(figure for figure in _figures(report) if any(figure.values))
    tables = [_table(name, each) for name, each in _sparse(report)]
    return [Section("bounds", "Lower bounds", ABOUT, (head, lines), NOTES, figures, tables[0] if tables else None)]


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


def _risk(found: Certified) -> str:
    if not found.alpha:
        return "0"
    return f"{found.alpha:g}; {found.expected_wrong:.2g} of {len(found.labels)}; {found.family_alpha:.2g}"


def _energy(report: RunReport, name: str, each: Certified) -> str:
    energy = next((row.report.found(ENERGY) for row in report.rows if row.network == name), None)
    one = next(iter(PRESETS.values()))(energy.operations) if energy else each.nanojoules
    return "-" if one is None else amount(each.passes * one / 1000)


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
