"""How many time steps a network needs: what it classifies correctly after each of them, and when its answer is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from robustsnn.compute.sums import running_sum
from robustsnn.data import as_samples
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.intervals import Interval, percent, wilson
from robustsnn.evaluation.measure import Curves, Measure, Section
from robustsnn.evaluation.report import Row
from robustsnn.spiking import SpikingNetwork


class Latency(BaseModel, frozen=True):
    """How long a spiking network takes.

    Arguments:
        steps: after how many its answer is there: T, or T per layer where layers wait for one another (``synchronous``).
        correct: how many images are right without an attack after 1, 2, ... time steps.
    """

    steps: int
    correct: tuple[int, ...]


@torch.no_grad()
def correct_over_time(net: nn.Module, data: Any, timesteps: int | None = None, batch: int = 250) -> tuple[int, ...]:
    """How many images are classified correctly after 1, 2, ... time steps, by the same weights and thresholds.

    One pass tells it all, since what a network does in its first steps does not depend on how many follow; layers that wait
    for one another (``synchronous``) run once for every number of steps.

    Arguments:
        data: as `as_samples` takes it; net: empty for one that does not spike.
        timesteps: up to which; twice those of the network if None, or as many as there are `Frames`.
    """
    if not isinstance(net, SpikingNetwork):
        return ()
    data = as_samples(data)
    steps = (2 * net.timesteps if net.signal.once else net.timesteps) if timesteps is None else timesteps
    each = range(1, steps + 1) if net.dynamics.synchronous else [steps]
    views = [net.replace(timesteps=t).eval() for t in each]
    device = next(net.parameters(), data.labels).device
    hits = torch.zeros(steps, dtype=torch.int64, device=device)
    for x, y, _ in data.batches(batch * net.timesteps // steps + 1):
        if net.dynamics.synchronous:
            logits = torch.stack([view(net.signal.beginning(x.to(device), view.timesteps)) for view in views])
        else:
            logits = running_sum(views[0].steps(x.to(device)), 0)  # sums decide as means do
        hits += (logits.argmax(-1) == y.to(device)).sum(1)
    return tuple(hits.tolist())


def measured(here: Evaluated) -> Latency | None:
    """Of a spiking network of ours; another library's keeps its steps to itself."""
    if not isinstance(here.net, SpikingNetwork):
        return None
    hits = correct_over_time(here.net, here.mine, batch=here.batch)
    shares = here.mean({str(step): count / len(here.mine) for step, count in enumerate(hits)})
    return Latency(steps=here.net.latency, correct=tuple(round(share * len(here.data)) for share in shares.values()))


TIME = "Clean accuracy in percent after each time step, by the same weights and thresholds, also beyond those it was made for."
WAITING = " Layers of a synchronous network wait for one another: each takes as many steps as the network was made for."
DRAWN = "Clean accuracy after each time step; dotted: the number a network was made for. Whiskers: Wilson 95 % intervals."


def sections(rows: Sequence[Row]) -> list[Section]:
    """Accuracy over time, with the steps for which a network was made and those until its answer is there."""
    lines, shares, waiting = list[list[str]](), list[dict[float, Interval]](), False
    for row in rows:
        shares.append({})
        if latency := row.report.found(LATENCY):
            shares[-1] = {step: wilson(hits, row.report.images) for step, hits in enumerate(latency.correct, 1)}
            waits = latency.steps != row.report.timesteps
            made_for = f"{row.report.timesteps}{f' (synchronous: answers after {latency.steps})' * waits}"
            lines.append([row.network, made_for, *(percent(share, bounds=False) for share in shares[-1].values())])
            waiting |= waits
    steps = max(map(len, shares), default=0)
    table = (
        ["network", "made for", *map(str, range(1, steps + 1))],
        [[*line, *["-"] * (steps + 2 - len(line))] for line in lines],
    )
    label = f"Clean accuracy of {len(lines)} networks over time steps; the figures are in the table below."
    marks = tuple(row.report.timesteps for row, each in zip(rows, shares, strict=True) if each and row.report.timesteps)
    curves = Curves("time steps", tuple(shares), label, DRAWN, marks)
    return [Section("time", "Time steps", TIME + WAITING * waiting, table, figures=(curves,))]


LATENCY = Measure("latency", Latency, measured, sections)
