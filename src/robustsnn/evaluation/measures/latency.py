"""Latency: accuracy after each time step, and the number of steps until the output is ready."""

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
    """Latency of a spiking network.

    Arguments:
        steps: steps until the output is ready: T, or T per layer if the network is ``synchronous``.
        correct: number of images classified correctly, without an attack, after 1, 2, ... time steps.
    """

    steps: int
    correct: tuple[int, ...]


@torch.no_grad()
def correct_over_time(net: nn.Module, data: Any, timesteps: int | None = None, batch: int = 250) -> tuple[int, ...]:
    """Count the images classified correctly after 1, 2, ... time steps, with unchanged weights and thresholds.

    One pass suffices, since a network's first steps do not depend on later ones. A ``synchronous`` network, whose layers wait
    for one another, runs once per number of steps.

    Arguments:
        net: the network; the result is empty if it is not a `SpikingNetwork`.
        data: samples, see `as_samples`.
        timesteps: largest number of steps; if None, twice the network's, or the number of `Frames`.
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
            logits = running_sum(views[0].steps(x.to(device)), 0)  # sums and means have the same argmax
        hits += (logits.argmax(-1) == y.to(device)).sum(1)
    return tuple(hits.tolist())


def measured(here: Evaluated) -> Latency | None:
    """Measure a `SpikingNetwork`; None for ANNs and networks of other libraries, whose steps are not accessible."""
    if not isinstance(here.net, SpikingNetwork):
        return None
    hits = correct_over_time(here.net, here.mine, batch=here.batch)
    shares = here.mean({str(step): count / len(here.mine) for step, count in enumerate(hits)})
    return Latency(steps=here.net.latency, correct=tuple(round(share * len(here.data)) for share in shares.values()))


TIME = (
    "Clean accuracy in percent after each time step, up to and beyond the network's T, with unchanged weights and thresholds."
)
WAITING = " Layers of a synchronous network wait for one another: each layer takes T steps."
DRAWN = "Clean accuracy after each time step; dotted: the network's T. Whiskers: Wilson 95 % intervals."


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of accuracy over time, with each network's T and its latency."""
    lines, shares, waiting = list[list[str]](), list[dict[float, Interval]](), False
    for row in rows:
        shares.append({})
        if latency := row.report.found(LATENCY):
            shares[-1] = {step: wilson(hits, row.report.images) for step, hits in enumerate(latency.correct, 1)}
            waits = latency.steps != row.report.timesteps
            made_for = f"{row.report.timesteps}{f' (synchronous: output after {latency.steps})' * waits}"
            lines.append([row.network, made_for, *(percent(share, bounds=False) for share in shares[-1].values())])
            waiting |= waits
    steps = max(map(len, shares), default=0)
    table = (
        ["network", "T", *map(str, range(1, steps + 1))],
        [[*line, *["-"] * (steps + 2 - len(line))] for line in lines],
    )
    label = f"Clean accuracy of {len(lines)} networks over time steps; the table below contains the values."
    marks = tuple(row.report.timesteps for row, each in zip(rows, shares, strict=True) if each and row.report.timesteps)
    curves = Curves("time steps", tuple(shares), label, DRAWN, marks)
    return [Section("time", "Time steps", TIME + WAITING * waiting, table, figures=(curves,))]


LATENCY = Measure("latency", Latency, measured, sections)
