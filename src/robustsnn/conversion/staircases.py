"""Quantisation of a trained ANN to the activation levels of a spiking network with T steps."""

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
    """Copy an ANN with `QCFS` in place of every ReLU: the network of T = ``levels`` steps at the cost of an ANN.

    Each staircase rises to the percentile of its ReLU's input. Its output is at most 1, so the layers behind are rescaled:
    with many levels and percentile 100, the copy computes what the ANN does on these images.

    Arguments:
        ann, data, allow, limit: as for `robustsnn.convert`; the trained ANN is not changed.
        levels: levels of every staircase, the T of the later spiking network.
        percentile: in (0, 100].

    Raises:
        ValueError: `convert` cannot convert the ANN, or its layers cannot be rescaled.

    Source: the activation of Bu et al. 2022, with thresholds calibrated as in conversion.
    """
    used = first_batches(data, limit, ann)
    body, _ = trace(copied(ann), allow)
    found = scaled(body, heights_of(body, used, percentile))
    return climbing(found.body, levels, found.thresholds).to(used[0].device)


def climbing(body: nn.Module, levels: int, thresholds: Mapping[str, float] = {}) -> nn.Module:
    """Return a view with a `QCFS` in place of every ``nn.ReLU``; ``thresholds`` lists, by path, those that are not 1."""

    def step(name: str, module: nn.Module) -> nn.Module | None:
        return QCFS(levels, thresholds.get(name, 1.0)).train(module.training) if isinstance(module, nn.ReLU) else None

    return rewire(body, step)
