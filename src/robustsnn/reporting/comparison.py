"""Comparison of runs on one page: networks measured in the same way, ranked by robust accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from robustsnn.evaluation import PRESETS, Interval, Report, Row, percent
from robustsnn.evaluation.measure import Table
from robustsnn.evaluation.measures import ENERGY
from robustsnn.evaluation.measures.energy import amount
from robustsnn.evaluation.results import radius
from robustsnn.reporting.drawing import Picture, plain
from robustsnn.reporting.plots import ranking
from robustsnn.reporting.report import RunReport, different
from robustsnn.reporting.tables import apart, spelled
from robustsnn.reporting.template import render
from robustsnn.types import Threat

APART = "Do not compare networks of different tables: test samples, protocol, attacks, rule or threat differ."

ABOUT = (
    "Accuracy in percent (Wilson 95 % interval), clean and in the worst case: a sample counts as robust only if it survives "
    "every attack measured at that radius, along every gradient path. "
    "nJ: energy of the synapses per sample. Audit: the worst verdict, and the number of checks with it."
)

DIFFER = "Recipe keys that differ between the runs; -: no value. Long values are shortened."

LONG, BEFORE = 40, 12
"""Number of characters shown of a value, and how many of them precede the first difference."""


@dataclass(frozen=True)
class Entry:
    """A network and the name of its run."""

    run: str
    row: Row

    @property
    def report(self) -> Report:
        return self.row.report

    @property
    def threats(self) -> set[Threat]:
        """The threats under which the network was measured."""
        return {result.within for result in self.report.results}


@dataclass(frozen=True)
class Group:
    """Networks that were measured in the same way, the most robust first.

    Arguments:
        title: test samples and protocol.
        entries: the networks.
        threat: the threat for the ranking; None if the networks have none in common and are ranked by clean accuracy.
    """

    title: str
    entries: tuple[Entry, ...]
    threat: Threat | None

    def robust(self, entry: Entry) -> Interval:
        """Return the accuracy that ranks an entry: its worst case over all attacks."""
        return entry.report.clean if self.threat is None else entry.report.worst(self.threat.eps)

    def right(self, entry: Entry) -> tuple[bool, ...]:
        """Return which images count as correct in `robust`."""
        return entry.report.correct if self.threat is None else entry.report.withstood(self.threat.eps)


def groups(runs: Mapping[str, RunReport]) -> list[Group]:
    """Group the networks of all runs by comparability: same test samples, protocol, attacks, rule and threat."""
    together: dict[tuple[str, ...], list[Entry]] = {}
    for name, run in runs.items():
        data = run.recipe.get("data")
        what = str(data.get("name", "")) if isinstance(data, dict) else ""
        what += f" ({run.note})" if run.note else ""
        for row in run.rows:
            report = row.report
            attacks = sorted({result.attack for result in report.results})
            rules = sorted({result.rule for result in report.results})
            title = (
                f"{what}{': ' if what else ''}{report.images} test samples, protocol {report.ruler} "
                f"({', '.join(attacks)}), rule {', '.join(rules)}; {report.results[0].within.words}"
            )
            together.setdefault((title, {**run.versions, **row.versions}.get("test images", "")), []).append(Entry(name, row))
    return [_ranked(title, entries) for (title, *_), entries in together.items()]


def _ranked(title: str, entries: list[Entry]) -> Group:
    common = set.intersection(*(entry.threats for entry in entries))
    group = Group(title, (), max(common, key=lambda threat: threat.eps, default=None))
    order = sorted(entries, key=lambda entry: (-group.robust(entry).value, -entry.report.clean.value))
    return Group(title, tuple(order), group.threat)


def ranks(group: Group) -> tuple[list[str], list[list[str]]]:
    """Return a group's table: accuracy under all attacks at every radius, energy and audit."""
    threats = sorted({threat for entry in group.entries for threat in entry.threats}, key=lambda threat: threat.eps)
    preset = next(iter(PRESETS))
    head = [
        "network",
        "run",
        "T",
        "clean",
        *(radius(threat, "=") for threat in threats),
        f"nJ, {preset.partition(',')[0]}",
        "audit",
    ]
    lines = []
    for place, entry in enumerate(group.entries, 1):
        report = entry.report
        energy = report.found(ENERGY)
        spent = amount(PRESETS[preset](energy.operations)) if energy else "-"
        worst = [percent(report.worst(each.eps)) if report.at(each.eps) else "-" for each in threats]
        time = "-" if report.timesteps is None else str(report.timesteps)
        lines.append([f"{place}. {entry.row.network}", entry.run, time, percent(report.clean), *worst, spent, _audit(report)])
    return head, lines


def _audit(report: Report) -> str:
    verdicts = [check.verdict for check in report.audit]
    counts = [f"{verdict} ({verdicts.count(verdict)})" for verdict in ("fail", "warn", "pass") if verdict in verdicts]
    return counts[0] if counts else "-"


def winner(group: Group) -> str:
    """Describe a group in one sentence: its most robust spiking network, and whether its lead is significant."""
    spiking = [entry for entry in group.entries if entry.report.spiking] or list(group.entries)
    first = spiking[0]
    by = "clean accuracy" if group.threat is None else f"worst case at {radius(group.threat)}"
    count = len(group.entries)
    called, share = f"“{first.row.network}” of {first.run}", spelled(group.robust(first))
    among = f"Of {count} networks, " if count > 1 else ""
    if len(spiking) == 1:
        return f"{among}{called} is the only {first.report.kind}; {by}: {share}."
    text = f"{among}{called} is the best {first.report.kind} by {by}: {share}"
    second = spiking[1]
    said = apart(group.right(first), group.right(second))
    return f"{text}; next is “{second.row.network}” of {second.run} with {spelled(group.robust(second))}, {said}."


def differences(runs: Mapping[str, RunReport]) -> dict[str, dict[str, Any]]:
    """Return the recipe keys in which runs differ, named like flags, with their values by run (None: no value)."""
    recipes = [run.recipe for run in runs.values()]
    keys = dict.fromkeys(key for one, other in pairwise(recipes) for key in different(one, other))
    return {key: {name: _value(run.recipe, key) for name, run in runs.items()} for key in keys}


def _value(recipe: Mapping[str, Any], key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def contrast(runs: Mapping[str, RunReport]) -> Table:
    """Return a table of recipe differences: a row per key, a column per run."""
    rows = [[key, *shortened([_text(value) for value in found.values()])] for key, found in differences(runs).items()]
    return ["recipe key", *runs], rows


def _text(value: Any) -> str:
    return (
        plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) if value not in (None, "") else "-"
    )


def shortened(texts: Sequence[str]) -> list[str]:
    """Shorten long texts to the part where they start to differ, unless different texts would then look the same.

    >>> shortened(["Trades(beta=6, eps=2/255, steps=5)" * 2, "Natural()"])
    ['Trades(beta=6, eps=2/255, steps=5)Trades…', 'Natural()']
    """
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    start = max(0, len([*alike]) - BEFORE)
    cut = [text if len(text) <= LONG else f"{'…' * (start > 0)}{_cut(text[start:])}" for text in texts]
    return cut if len(set(cut)) == len(set(texts)) else list(texts)


def _cut(text: str) -> str:
    return text if len(text) <= LONG else text[:LONG] + "…"


def board(runs: Mapping[str, RunReport], links: Mapping[str, str] = {}) -> str:
    """Return a self-contained HTML page that ranks the networks of several runs.

    Arguments:
        runs: reports by name.
        links: addresses of the runs' own pages, relative to this one.
    """
    sections = [
        {"title": group.title, "winner": winner(group), "about": ABOUT, "table": ranks(group), "figure": _figure(group, i)}
        for i, group in enumerate(groups(runs))
    ]
    differ = {"about": DIFFER, "table": contrast(runs)}
    return render(
        "board.html.jinja", name="Comparison of runs", runs=runs, links=links, sections=sections, apart=APART, differ=differ
    )


def _figure(group: Group, number: int) -> Picture:
    names = [entry.row.network for entry in group.entries]
    worst = [group.robust(entry) for entry in group.entries]
    what = "clean accuracy" if group.threat is None else f"worst case at {radius(group.threat)}"
    return ranking(names, [entry.report.clean for entry in group.entries], worst, what, f"ranking{number}")
