"""The report as a self-contained HTML file that loads no external resources and runs no scripts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from robustsnn.evaluation import Row
from robustsnn.evaluation.results import radius
from robustsnn.reporting import tables
from robustsnn.reporting.event_pictures import COLOURS, of_events
from robustsnn.reporting.pictures import triple
from robustsnn.reporting.plots import accuracy, drawn, keys, keys_of, training
from robustsnn.reporting.report import RunReport
from robustsnn.reporting.tables import apart, attackers, spelled
from robustsnn.reporting.template import render


def page(report: RunReport) -> str:
    """Return a self-contained HTML page of a report: verdict, tables, figures, and how to reproduce it.

    Styles and figures are embedded, and all values of the report are escaped. The same report gives the same page.

    Arguments:
        report: the report of a run, which may be empty.
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
        of_events=of_events,
        radius=radius,
        polarities=COLOURS,
        training=training(report),
        recipe=json.dumps(report.recipe, indent=2, ensure_ascii=False, default=str),
    )


def verdict(report: RunReport) -> str:
    """Summarise a run in one sentence: clean and robust accuracy of the best spiking network, and of the least robust network.

    Networks are compared at the largest ε of any spiking network (of any network, if none spikes), by the images that survive
    all attacks measured there.
    """
    if not report.rows:
        return tables.summary(report)
    spiking = [row for row in report.rows if row.report.spiking]
    largest = max((r for row in spiking or report.rows for r in row.report.results), key=lambda result: result.eps)
    eps = largest.eps
    worst = {i: row.report.worst(eps) for i, row in enumerate(report.rows) if row.report.at(eps)}
    first = [i for i in worst if not spiking or report.rows[i].report.spiking]
    best = max(first, key=lambda i: worst[i].value)
    lowest = min(worst, key=lambda i: worst[i].value)
    row, kept = report.rows[best], worst[best]
    by = {i: attackers(report.rows[i].report, eps) for i in (best, lowest)}
    text = (
        f"{'Of' if spiking else 'No spiking network was measured; of'} {row.report.images} test samples, "
        f"{_called(row, best=len(first) > 1)} classifies {spelled(row.report.clean)} correctly, "
        f"and {spelled(kept)} under {by[best]} at {radius(largest.within)}"
    )
    if lowest == best:
        return text + "."
    other = worst[lowest]
    under = "" if by[lowest] == by[best] else f" under {by[lowest]}"
    said = apart(row.report.withstood(eps), report.rows[lowest].report.withstood(eps))
    return f"{text}. The least robust is {_called(report.rows[lowest])} with {spelled(other)}{under}: {said}."


@dataclass(frozen=True)
class Broken:
    """The shares of a network's images that each member was the first to break.

    Arguments:
        network, attack: names of the network and of the attack.
        correct: number of images classified correctly without the attack.
        shares: share of these images that each member broke, in ``[0, 1]``; empty if ``correct`` is 0.
        survived: share of these images that no member broke.
    """

    network: str
    attack: str
    correct: int
    shares: dict[str, float]
    survived: float


def broken(report: RunReport) -> tuple[list[str], list[Broken]]:
    """Return all members in running order, and per spiking network the shares that its strongest attack's members broke.

    The strongest attack is the one with the lowest accuracy at the network's largest ε.
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
        found.append(Broken(row.network, f"{result.attack}, {radius(result.within)}", correct, shares, survived))
    return list(dict.fromkeys(member for column in found for member in column.shares)), found


def _called(row: Row, *, best: bool = False) -> str:
    return f"the {'best ' if best else ''}{row.report.kind} “{row.network}”"
