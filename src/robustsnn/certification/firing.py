"""Intervals of spikes: how neurons turn bounds on their currents into bounds on what they fire."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robustsnn.certification.boxes import Box
from robustsnn.spiking import LIF, Dynamics, NeuronLayer

Rule = Literal["counts", "steps"]
"""Bounds by cumulative counts, or by the intervals of every time step alone (S-IBP, Liang et al. 2022)."""
Rows = Literal["total", "counts", "both", "steps"]
"""The part of T steps that a box bounds: the sum of all, all running sums, single steps and running sums, or single steps."""


def rows_of(dynamics: Dynamics, rule: Rule) -> Rows:
    """Return which rows decide what the next layer of neurons fires.

    Raises:
        ValueError: the neurons are not `LIF` or `PLIF`.
    """
    neuron = dynamics.neuron
    if not isinstance(neuron, LIF):
        raise ValueError(f"intervals need LIF or PLIF neurons, not {neuron}: use Smoothing, which takes any network")
    if dynamics.synchronous:
        return "total"
    if rule == "steps":
        return "steps"
    return "counts" if neuron.reset == "subtract" and neuron.leak == 1 and not neuron.trained else "both"


def times_of(rows: Rows, steps: int, like: Tensor) -> Tensor:
    """Return the number of time steps that each row sums."""
    single, running = torch.ones(steps), torch.arange(1, steps + 1)
    found = {"total": torch.tensor([steps]), "counts": running, "both": torch.cat([single, running]), "steps": single}
    return found[rows].to(like)


def shown(low: Tensor, high: Tensor, rows: Rows, slack: float) -> Box:
    """Return the box of inputs between bounds ``[T, N, ...]`` of every step."""
    both = torch.stack([low, high])
    parts = {
        "total": [both.sum(1, keepdim=True)],
        "counts": [both.cumsum(1)],
        "both": [both, both.cumsum(1)],
        "steps": [both],
    }
    low, high = torch.cat(parts[rows], 1).flatten(1, 2)
    return Box.between(low, high, times_of(rows, len(both[0]), low), slack)


def fired(layer: NeuronLayer, box: Box, rule: Rule) -> tuple[Box, tuple[Tensor, Tensor]]:
    """Return the box of a layer's spikes for the box of its currents, and bounds on its running counts, ``[T, N, ...]``.

    The running count of a neuron never falls if a current rises, whatever the leak and the reset. So its bounds are the counts
    at the lower and at the upper currents. Without a leak and with soft reset, it depends on running sums alone, and never
    falls if one of them rises: these sums may then take the place of the currents.

    Raises:
        ValueError: the neurons are of another kind, or a threshold is not greater than 0.
    """
    dynamics, threshold = layer.dynamics, layer.threshold
    rows, steps = rows_of(dynamics, rule), dynamics.timesteps
    if not (threshold > 0).all():
        raise ValueError(f"intervals need thresholds greater than 0, not {threshold.detach().min():.3g}: keep them so")
    spread = box.radius
    if box.slack:
        spread = spread + box.slack * (box.size + threshold * box.steps.clamp_min(1))
    ends = torch.stack([box.center - spread, box.center + spread]).unflatten(1, (len(box.times), -1))
    if len(box.times) == 1:  # the same current at every step: an image, or the mean of the layer before
        ends = (ends / float(box.times)).expand(2, steps, *ends.shape[2:])
    elif rows == "counts":
        ends = ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1]))
    ends = ends[:, :steps]
    spikes = layer.fire(ends.transpose(0, 1).flatten(1, 2), dynamics=dynamics, **layer.tensors)
    low, high = spikes.unflatten(1, (2, -1)).transpose(0, 1).cumsum(1)
    if rows == "total":
        return _joined([low[-1:]], [high[-1:]], rows, box, steps), (low, high)
    if rows == "counts":
        return _joined([low], [high], rows, box, steps), (low, high)
    least, most = by_steps(layer, *ends)
    if rows == "steps":
        return _joined([least], [most], rows, box, steps), (least.cumsum(0), most.cumsum(0))
    before = torch.zeros_like(low[:1])
    least = torch.maximum(least, low - torch.cat([before, high[:-1]]))
    most = torch.minimum(most, high - torch.cat([before, low[:-1]]))
    return _joined([least, low], [most, high], rows, box, steps), (low, high)


def _joined(low: list[Tensor], high: list[Tensor], rows: Rows, box: Box, steps: int) -> Box:
    times = times_of(rows, steps, box.center)
    return Box.between(torch.cat(low).flatten(0, 1), torch.cat(high).flatten(0, 1), times, box.slack)


def by_steps(layer: NeuronLayer, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds on single spikes ``[T, N, ...]`` for bounds on single currents, by S-IBP (Liang et al. 2022).

    It keeps an interval of the potential. Where the interval lies on both sides of the threshold, the neuron may or may not
    fire, and the next interval covers the results of both cases.
    """
    neuron, tensors = layer.dynamics.neuron, layer.tensors
    assert isinstance(neuron, LIF)
    threshold, soft = layer.threshold, neuron.reset == "subtract"
    lower, upper = (neuron.begin(each[0], tensors) for each in (low, high))
    least, most = [], []
    for rising, falling in zip(low, high, strict=True):
        lower, upper = neuron.charge(lower, rising, tensors), neuron.charge(upper, falling, tensors)
        sure, may = lower >= threshold, upper >= threshold
        least.append(sure.to(low.dtype))
        most.append(may.to(low.dtype))
        after_low = lower - threshold if soft else torch.zeros_like(lower)
        after_high = upper - threshold if soft else torch.zeros_like(upper)
        mixed_low = torch.minimum(lower, torch.zeros_like(lower))
        mixed_high = torch.maximum(threshold.expand_as(upper), after_high)
        lower = torch.where(sure, after_low, torch.where(may, mixed_low, lower))
        upper = torch.where(sure, after_high, torch.where(may, mixed_high, upper))
    return torch.stack(least), torch.stack(most)
