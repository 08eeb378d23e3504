"""The worst case: runs the protocol's ensembles member by member, in full batches, resumably."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from robustsnn.evaluation.ensemble import Progress, attempt, in_turn, judge
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Measure, Section, Table
from robustsnn.evaluation.measures.pilot import ranking
from robustsnn.evaluation.member import Member, members
from robustsnn.evaluation.report import Report, Row
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Result, WorstCase, radius, titled
from robustsnn.evaluation.state import State, carried
from robustsnn.evaluation.subject import Told, work
from robustsnn.files import digest
from robustsnn.seeds import image_seeds
from robustsnn.threats import kind_of
from robustsnn.types import Threat


def ensembles(here: Evaluated) -> dict[tuple[str, float], tuple[Member, ...]]:
    """Return the members of every ensemble by its name and radius, in report order."""
    ranked = ranking(here) if here.protocol.ranked else []
    pairs = [(name, threat) for name in here.groups for threat in here.settings.threats]
    return {(name, t.eps): members(here.groups[name], t, here.net, ranked, here.sources) for name, t in pairs}


def measured(here: Evaluated) -> WorstCase:
    """Run every ensemble under every threat, by increasing radius."""
    whole = ensembles(here)
    origins = sorted((name, digest(source.state_dict())) for name, source in here.sources.items())
    order = [str(member) for ensemble in whole.values() for member in ensemble]  # the pilot may have chosen them
    asked = (here.condition[0], here.data.digest(ids=True), here.settings.flags, here.protocol, here.seed, origins, order)
    kept = State.resume(here.state, repr(asked))
    kept.agree(here.team)
    missed, clean = unattacked(here)
    for name in here.groups:
        for threat in here.threats:
            if not any((result.attack, result.eps) == (name, threat.eps) for result in kept.done):
                ensemble = whole[name, threat.eps]
                start = Progress.begin(carried(kept.done, name, threat.eps, missed), clean, len(ensemble))
                kept.finish(_result(here, name, threat, ensemble, kept.current or start, kept))
    return WorstCase(results=tuple(sorted(kept.done, key=lambda result: list(whole).index((result.attack, result.eps)))))


def unattacked(here: Evaluated) -> tuple[Tensor, Tensor]:
    """Return the flags and the margins before any attack, ``[N]`` each."""
    flags, margins = torch.full((len(here.data),), ROBUST), torch.zeros(len(here.data))
    for index in here.team.share(len(here.data)).split(here.batch):
        missed, margin = judge(here.target.judged, *here.samples(index)[:2])
        flags[index[missed.cpu()]], margins[index] = MISCLASSIFIED, margin.cpu()
    return here.team.merge(flags), here.team.merge(margins)


def _result(here: Evaluated, name: str, threat: Threat, ensemble: Sequence[Member], now: Progress, kept: State) -> Result:
    """Run one ensemble under one threat, from where it stopped."""
    what, rule, team = f"{name} at {threat.spelled}", here.settings.rule or here.protocol.rule, here.team
    for number, index, shares, last in in_turn(ensemble, now, here.batch, team):
        x, y, ids = here.samples(index)
        seeds = image_seeds(ids, here.seed, name)
        told = _told(here, what, shares, work(ensemble[number].attack) * len(index))
        now.note(number, index, attempt(ensemble[number], here.crafted, x, y, seeds, rule, told))
        now.costs[number].add(told)
        kept.keep(now, at_once=last)
    here.on_progress(what, 1.0)
    return Result(
        attack=name,
        eps=threat.eps,
        threat=kind_of(threat),
        rule=rule,
        members=tuple(member.name for member in ensemble),
        broken_by=tuple(now.flags.tolist()),
        white_box=tuple(member.white_box for member in ensemble),
        gradients=tuple(team.total(torch.tensor([cost.gradients for cost in now.costs])).tolist()),
        queries=tuple(team.total(torch.tensor([cost.queries for cost in now.costs])).tolist()),
        excess=tuple(team.total(torch.tensor([cost.excess for cost in now.costs]), "max").tolist()),
        seconds=tuple(team.total(torch.tensor([cost.seconds for cost in now.costs]), "max").tolist()),
    )


def _told(here: Evaluated, what: str, shares: tuple[float, float], most: int) -> Told:
    """Return a cost that tells the progress from one share to another, as it approaches ``most``."""
    before, after = shares
    told, said = Told(), [before]
    here.on_progress(what, before)

    def on_pass() -> None:
        share = before + (after - before) * min(0.99, told.work / most)
        if share >= said[-1] + 0.01:
            said.append(share)
            here.on_progress(what, share)

    told.on_pass = on_pass
    return told


KEPT = (
    "Robust accuracy of each spiking network divided by that of its ANN, both under all attacks at that radius (in "
    "parentheses: both accuracies in percent). 1: no loss. An ANN has one gradient path, a spiking network many."
)
COST = (
    "Gradients (forward and backward passes) and queries (forward passes) per attacked sample. Last column: total cost of the "
    "ensemble relative to its first attack; a query counts as a third of a gradient."
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return tables of robustness retention and of attack cost; the accuracy table is part of every report."""
    return [
        Section("retention", "Retention", KEPT, retention(rows)),
        Section("cost", "Attack cost", COST, costs(rows)),
    ]


def retention(rows: Sequence[Row]) -> Table:
    """Return the retention table: per threat, the robust accuracy of each spiking network divided by that of its ANN, if that
    was measured in the same run."""
    threats = list(dict.fromkeys(result.within for row in rows for result in row.report.results))
    anns = {row.network.removesuffix(" ANN"): row.report for row in rows if row.network.endswith(" ANN")}
    lines = []
    for row in rows:
        source, spiking, _ = row.network.partition(" SNN")
        if spiking and source in anns:
            lines.append([row.network, *(_kept(row.report, anns[source], threat.eps) for threat in threats)])
    return ["network", *(radius(threat, "=") for threat in threats)], lines


def _kept(network: Report, source: Report, eps: float) -> str:
    if not (network.at(eps) and source.at(eps)) or not source.worst(eps).value:
        return "-"
    kept, whole = network.worst(eps), source.worst(eps)
    return f"{kept.value / whole.value:.2f} ({100 * kept.value:.1f} of {100 * whole.value:.1f})"


def costs(rows: Sequence[Row]) -> Table:
    """Return the table of attack cost per attacked image; for ensembles of several attacks also as a multiple of the first
    attack's cost (SA-PGD in `rigorous`)."""
    head = ["network", "attack", "gradients per sample", "queries per sample", "relative to first attack"]
    lines = []
    for row in rows:
        for result in row.report.results:
            if not result.gradients or not result.attacked:
                continue
            _, of_the_first = next(groupby(result.members, lambda member: member.partition(" along ")[0]))
            first = sum(result.gradients[: len(list(of_the_first))])
            times = f"{(sum(result.gradients) + sum(result.queries) / 3) / first:.1f}" if first else "-"
            each = [f"{sum(counted) / result.attacked:.1f}" for counted in (result.gradients, result.queries)]
            lines.append([row.network, titled(result.attack, result.within), *each, times])
    shown = len(head) - all(line[-1] == "-" for line in lines)
    return head[:shown], [line[:shown] for line in lines]


WORST_CASE = Measure("worst_case", WorstCase, measured, sections)
