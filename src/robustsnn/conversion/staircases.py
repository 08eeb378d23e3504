"""From a trained ANN to the same ANN in the levels that a spiking network of T steps has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from robustsnn.compute import copied, rewire
from robustsnn.conversion.calibration import first_batches
from robustsnn.conversion.heights import heights_of, scaled
from robustsnn.conversion.tracing import trace
from robustsnn.models import QCFS


def staircase(
    ann: nn.Module,
    data: Any,
    levels: int,
    percentile: float = 99.7,
    *,
    allow: Collection[str] = (),
    limit: int = 11,
) -> nn.Module:
    """A copy of an ANN with `QCFS` in the place of every ReLU: the network of T = ``levels`` steps at the cost of an ANN.

    A staircase rises to the percentile of what its ReLU receives. It gives at most 1, so the layers behind receive it scaled
    along: for many levels and percentile 100 the copy computes what the ANN does on these images.

    Arguments:
        ann, data, allow, limit: as `robustsnn.convert` takes them; the ANN is trained, and left untouched.
        levels: of every staircase, the T that the spiking network will have.
        percentile: in (0, 100].

    Raises:
        ValueError: what `convert` refuses, or a network whose layers cannot take the scale in.

    Source: the activation of Bu et al. 2022, its thresholds found as conversion finds those of neurons.
    """
    used = first_batches(data, limit, ann)
    body, _ = trace(copied(ann), allow)
    found = scaled(body, heights_of(body, used, percentile))
    return climbing(found.body, levels, found.thresholds).to(used[0].device)


def climbing(body: nn.Module, levels: int, thresholds: Mapping[str, float] = {}) -> nn.Module:
    """A body over the same tensors with a `QCFS` in the place of every ``nn.ReLU``; by path, the thresholds that are not 1."""

    def step(name: str, module: nn.Module) -> nn.Module | None:
        return QCFS(levels, thresholds.get(name, 1.0)).train(module.training) if isinstance(module, nn.ReLU) else None

    return rewire(body, step)
