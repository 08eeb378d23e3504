"""Many runs on one page: networks that were measured in the same way, ranked by what they withstand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from robustsnn.evaluation import PRESETS, Interval, Report, Row, percent
from robustsnn.evaluation.measure import Table
from robustsnn.evaluation.measures import ENERGY
from robustsnn.reporting.drawing import Picture, plain
from robustsnn.reporting.plots import ranking
from robustsnn.reporting.report import RunReport, different
from robustsnn.reporting.tables import apart, spelled
from robustsnn.reporting.template import render
from robustsnn.types import Threat

APART = (
    "Networks in different tables were not measured alike (test images, protocol, attacks, rule, threat): do not compare them."
)

ABOUT = (
    "Accuracy in percent (Wilson 95 % interval): clean, and in the worst case: an image counts that survives every attack "
    "measured at that radius, along every gradient. "
    "Energy of synapses per image; worst verdict of the audit, and how many checks gave it."
)

DIFFER = "Keys of the recipes whose values differ between the runs; - is a key without a value. Long values are shortened."

LONG, BEFORE = 40, 12
"""Characters of a value that are shown, and how many of them stand before the first in which it differs."""


@dataclass(frozen=True)
class Entry:
    """A network of one of the runs."""

    run: str
    row: Row

    @property
    def report(self) -> Report:
        return self.row.report

    @property
    def threats(self) -> set[Threat]:
        """Under which it was measured."""
        return {result.within for result in self.report.results}


@dataclass(frozen=True)
class Group:
    """Networks that were measured in the same way, the most robust first.

    Arguments:
        title: the images and the protocol.
        entries: the networks.
        threat: by which they are ranked; None where there is none under which all were measured: then by clean accuracy.
    """

    title: str
    entries: tuple[Entry, ...]
    threat: Threat | None

    def robust(self, entry: Entry) -> Interval:
        """By what an entry is ranked: its worst case over all attacks together."""
        return (None if self.threat is None else entry.report.worst(self.threat.eps)) or entry.report.clean

    def right(self, entry: Entry) -> tuple[bool, ...]:
        """The images behind that."""
        return entry.report.correct if self.threat is None else entry.report.withstood(self.threat.eps)


def groups(runs: Mapping[str, RunReport]) -> list[Group]:
    """The networks of all runs, those together that may be compared: same test images, protocol, attacks, rule and threat."""
    together: dict[tuple[str, ...], list[Entry]] = {}
    for name, run in runs.items():
        data = run.recipe.get("data")
        what = str(data.get("name", "")) if isinstance(data, dict) else ""
        for row in run.rows:
            report = row.report
            attacks = sorted({result.attack for result in report.results})
            rules = sorted({result.rule for result in report.results})
            title = (
                f"{what}{': ' if what else ''}{report.images} test images, protocol {report.ruler} "
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
    """Head and rows of a group's table: what survives all attacks together at every radius, energy and audit."""
    threats = sorted({threat for entry in group.entries for threat in entry.threats}, key=lambda threat: threat.eps)
    preset = next(iter(PRESETS))
    head = [
        "network",
        "run",
        "T",
        "clean",
        *(f"ε={threat.spelled}" for threat in threats),
        f"nJ, {preset.partition(',')[0]}",
        "audit",
    ]
    lines = []
    for place, entry in enumerate(group.entries, 1):
        report = entry.report
        found = [report.worst(threat.eps) for threat in threats]
        energy = report.found(ENERGY)
        spent = f"{PRESETS[preset](energy.operations):,.4g}" if energy else "-"
        worst = [percent(share) if share else "-" for share in found]
        time = "-" if report.timesteps is None else str(report.timesteps)
        lines.append([f"{place}. {entry.row.network}", entry.run, time, percent(report.clean), *worst, spent, _audit(report)])
    return head, lines


def _audit(report: Report) -> str:
    verdicts = [check.verdict for check in report.audit]
    counts = [f"{verdict} ({verdicts.count(verdict)})" for verdict in ("fail", "warn", "pass") if verdict in verdicts]
    return counts[0] if counts else "-"


def winner(group: Group) -> str:
    """A group in one sentence: which spiking network withstands most, and whether by more than chance."""
    spiking = [entry for entry in group.entries if entry.report.spiking] or list(group.entries)
    first = spiking[0]
    by = "clean accuracy" if group.threat is None else f"worst case at ε = {group.threat.spelled}"
    count = len(group.entries)
    best = f"“{first.row.network}” of {first.run} is the best {first.report.kind} by {by}: {spelled(group.robust(first))}"
    text = f"Of {count} network{'s' * (count > 1)}, {best}"
    if len(spiking) == 1:
        return text + "."
    second = spiking[1]
    said = apart(group.right(first), group.right(second))
    return f"{text}; next is “{second.row.network}” of {second.run} with {spelled(group.robust(second))}, {said}."


def differences(runs: Mapping[str, RunReport]) -> dict[str, dict[str, Any]]:
    """The recipe keys, as flags name them, in which runs differ, each with its value in every run; None where it has none."""
    recipes = [run.recipe for run in runs.values()]
    keys = dict.fromkeys(key for one, other in pairwise(recipes) for key in different(one, other))
    return {key: {name: _value(run.recipe, key) for name, run in runs.items()} for key in keys}


def _value(recipe: Mapping[str, Any], key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def contrast(runs: Mapping[str, RunReport]) -> Table:
    """Head and rows of what recipes differ in: a line per key, a column per run."""
    rows = [[key, *shortened([_text(value) for value in found.values()])] for key, found in differences(runs).items()]
    return ["recipe key", *runs], rows


def _text(value: Any) -> str:
    return (
        plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) if value not in (None, "") else "-"
    )


def shortened(texts: Sequence[str]) -> list[str]:
    """Long texts cut to where they begin to differ; whole where what differs would look the same.

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
    """A self-contained HTML page that ranks the networks of several runs.

    Arguments:
        runs: reports by name.
        links: where the page of a run lies, relative to this one.
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
    what = "clean accuracy" if group.threat is None else f"worst case at ε = {group.threat.spelled}"
    return ranking(names, [entry.report.clean for entry in group.entries], worst, what, f"ranking{number}")
