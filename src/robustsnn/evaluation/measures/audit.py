"""The audit: checks for signs of gradient masking, on a subset of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Measure, Section, side_by_side
from robustsnn.evaluation.measures.checks import audit, followed, transfer
from robustsnn.evaluation.measures.pilot import PILOT, pilots, ranking
from robustsnn.evaluation.measures.worst_case import WORST_CASE, ensembles
from robustsnn.evaluation.protocols import Audit
from robustsnn.evaluation.report import Report, Row
from robustsnn.evaluation.results import Audited
from robustsnn.evaluation.subject import Subject


def measured(here: Evaluated) -> Audited | None:
    """Audit at the largest radius, along the strongest gradient path."""
    asked, threat = here.settings, here.threats[-1]
    worst_case, pilot = here.found(WORST_CASE), here.found(PILOT)
    if not (asked.audit_images and worst_case and pilot):
        return None
    how = Audit().under(asked)
    how = replace(how, images=min(how.images, len(here.data)))
    paths = {path: pilot.paths[str(path)] for path in ranking(here)}
    chosen, unchanged = pilots(here.data, how.images, here.seed).to(here.device), here.unchanged
    on_share = partial(here.on_progress, "audit")
    subject = Subject(here.target, chosen, next(iter(paths)), threat, here.seed, on_share)
    places = {image: place for place, image in enumerate(here.data.ids.tolist())}
    right = [places[image] for image in subject.ids.tolist()]
    checks = audit(subject, worst_case.results, right, paths, how, unchanged)
    everyone = [member for ensemble in ensembles(here).values() for member in ensemble]
    checks = (*checks, followed(everyone, here.net, here.samples(torch.arange(1))[0]))
    if any(group.transfers for ensemble in here.groups.values() for group in ensemble):
        checks = (*checks, transfer(here.sources))
    return Audited(checks=checks)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of verdicts and figures of all checks, with their meanings."""
    checked = [row for row in rows if row.report.audit]
    columns = [(row.network, {c.name: f"{c.verdict} ({c.figure:.3g})" for c in row.report.audit}) for row in checked]
    about = f"Checks for signs of gradient masking: verdict of every check (and its value). Audited: {audited(rows)}."
    return [Section("audit", "Audit", about, side_by_side("check", columns), meanings(rows))]


def meanings(rows: Sequence[Row]) -> dict[str, str]:
    """Return the meaning of every check; listed per network if the texts differ."""
    said: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for check in row.report.audit:
            said.setdefault(check.name, {}).setdefault(check.meaning, []).append(row.network)
    return {name: _together(texts) for name, texts in said.items()}


def audited(rows: Sequence[Row]) -> str:
    """Describe the extent of the audit, per network if it differs; empty if no network was audited."""
    said: dict[str, list[str]] = {}
    for row in rows:
        said.setdefault(_thoroughness(row.report), []).append(row.network)
    return _together(said) if any(row.report.audit for row in rows) else ""


def _thoroughness(report: Report) -> str:
    how = report.audited
    if how is None:
        return "not at all"
    return (
        f"on {how.images:,} samples, with gradient attacks of {how.steps:,} steps and query attacks of {how.queries:,} queries"
    )


def _together(texts: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(text if len(texts) == 1 else f"{', '.join(networks)}: {text}" for text, networks in texts.items())


AUDIT = Measure("audit", Audited, measured, sections)
