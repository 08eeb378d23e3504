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
from robustsnn.evaluation.intervals import percent, wilson
from robustsnn.evaluation.measure import Curves, Measure, Section, Table
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


def sections(rows: Sequence[Row]) -> list[Section]:
    """Accuracy over time, with the steps for which a network was made."""
    found = [row.report.found(LATENCY) for row in rows]
    waiting = any(each and each.steps != row.report.timesteps for row, each in zip(rows, found, strict=True))
    curves = Curves(
        axis="time steps",
        values=tuple(
            {step: wilson(hits, row.report.images) for step, hits in enumerate(each.correct if each else (), 1)}
            for row, each in zip(rows, found, strict=True)
        ),
        label=f"Clean accuracy of {sum(map(bool, found))} networks over time steps; the figures are in the table below.",
        caption="Clean accuracy after each time step; dotted: the number a network was made for. "
        "Whiskers: Wilson 95 % intervals.",
        marks=tuple(
            row.report.timesteps
            for row, each in zip(rows, found, strict=True)
            if each and row.report.timesteps is not None and row.report.timesteps <= len(each.correct)
        ),
    )
    about, caption = TIME + WAITING * waiting, "Clean accuracy in percent after each time step"
    return [Section("time", "Time steps", about, over_time(rows), caption, figures=(curves,))]


def over_time(rows: Sequence[Row]) -> Table:
    """Head and rows of clean accuracy in percent after every time step, one line per spiking network."""
    found = [(row, latency) for row in rows if (latency := row.report.found(LATENCY))]
    steps = max((len(latency.correct) for _, latency in found), default=0)
    lines = []
    for row, latency in found:
        shares = [percent(wilson(hits, row.report.images), bounds=False) for hits in latency.correct]
        waits = "" if latency.steps == row.report.timesteps else f" (synchronous: answers after {latency.steps})"
        lines.append([row.network, f"{row.report.timesteps}{waits}", *shares, *["-"] * (steps - len(shares))])
    return ["network", "made for", *(str(step + 1) for step in range(steps))], lines


LATENCY = Measure("latency", Latency, measured, sections)
