"""The report for people, as one HTML file that asks nothing of any network and runs no script."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from robustsnn.evaluation import Row
from robustsnn.reporting import tables
from robustsnn.reporting.pictures import triple
from robustsnn.reporting.plots import accuracy, drawn, keys, keys_of, training
from robustsnn.reporting.report import RunReport
from robustsnn.reporting.tables import apart, attackers, spelled
from robustsnn.reporting.template import render


def page(report: RunReport) -> str:
    """A self-contained HTML page of a report: verdict, tables, figures, and how to make it again.

    Style and figures are in the page; whatever comes from the report is escaped. The same report gives the same page.

    Arguments:
        report: of any run, also one that has measured nothing yet.
    """
    return render(
        "page.html.jinja",
        name=str(report.recipe.get("name", "run")),
        verdict=verdict(report),
        report=report,
        tables=tables,
        parts=tables.parts(report),
        keys=keys(report),
        keys_of=lambda section: keys_of(section, report),
        drawn=drawn,
        accuracy=accuracy(report),
        broken=broken(report),
        triple=triple,
        training=training(report),
        recipe=json.dumps(report.recipe, indent=2, ensure_ascii=False, default=str),
    )


def verdict(report: RunReport) -> str:
    """The run in one sentence: what the best spiking network withstands, against its clean accuracy and the lowest row.

    Networks are compared at the largest epsilon of any spiking one (of any network, where none spikes), each by the images
    that survive all attacks measured there together: fewer than under any of them alone.
    """
    if not report.rows:
        return tables.summary(report)
    spiking = [row for row in report.rows if row.report.spiking]
    largest = max((r for row in spiking or report.rows for r in row.report.results), key=lambda result: result.eps)
    eps = largest.eps
    worst = {i: share for i, row in enumerate(report.rows) if (share := row.report.worst(eps))}
    first = [i for i in worst if not spiking or report.rows[i].report.spiking]
    best = max(first, key=lambda i: worst[i].value)
    lowest = min(worst, key=lambda i: worst[i].value)
    row, kept = report.rows[best], worst[best]
    by = {i: attackers(report.rows[i].report, eps) for i in (best, lowest)}
    text = (
        f"{'Of' if spiking else 'No spiking network was measured; of'} {row.report.images} test images, "
        f"{_called(row, best=len(first) > 1)} classifies {spelled(row.report.clean)} correctly, "
        f"and still {spelled(kept)} under {by[best]} at ε = {largest.within.spelled}"
    )
    if lowest == best:
        return text + "."
    other = worst[lowest]
    under = "" if by[lowest] == by[best] else f" under {by[lowest]}"
    said = apart(row.report.withstood(eps), report.rows[lowest].report.withstood(eps))
    return f"{text}; the lowest, {_called(report.rows[lowest])}, keeps {spelled(other)}{under}, {said}."


@dataclass(frozen=True)
class Broken:
    """Which member broke how many of one network's images first.

    Arguments:
        network, attack: whose images, and what attacked them.
        correct: how many images were classified correctly before the attack.
        shares: per member the share of those it broke, in ``[0, 1]``; none where ``correct`` is 0.
        survived: the share that no member broke.
    """

    network: str
    attack: str
    correct: int
    shares: dict[str, float]
    survived: float


def broken(report: RunReport) -> tuple[list[str], list[Broken]]:
    """All members, in the order in which they ran, and for every spiking network what its strongest attack's members broke.

    The strongest attack is that at the network's largest epsilon.
    """
    found = []
    for row in report.rows:
        result = min(row.report.results, key=lambda result: (-result.eps, result.robust.value))
        if not row.report.spiking:
            continue
        correct = result.attacked
        shares = dict.fromkeys(result.members, 0.0) if correct else {}
        for number, member in enumerate(result.members if correct else ()):
            shares[member] += result.broken[number] / correct
        survived = result.survivors / correct if correct else math.nan
        found.append(Broken(row.network, f"{result.attack}, ε = {result.within.spelled}", correct, shares, survived))
    return list(dict.fromkeys(member for column in found for member in column.shares)), found


def _called(row: Row, *, best: bool = False) -> str:
    return f"the {'best ' if best else ''}{row.report.kind} “{row.network}”"
