"""Properties of a network's layers: time steps, thresholds, firing rates, and number of stored weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.data import as_samples
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Dots, Measure, Section, side_by_side
from robustsnn.evaluation.report import Row
from robustsnn.models import weight_layers, weight_of
from robustsnn.spiking import Spiking, SpikingNetwork


class Layers(BaseModel, frozen=True):
    """Properties of a network's layers.

    Arguments:
        thresholds, firing_rates: per layer of neurons: mean threshold, and spikes per neuron and time step.
        weights: number of nonzero weights of convolutions and linear layers, and number of all their weights.
    """

    thresholds: dict[str, float]
    firing_rates: dict[str, float]
    weights: tuple[int, int]


def timesteps(net: nn.Module) -> int | None:
    """Return a network's number of time steps; None for an ANN."""
    return net.timesteps if isinstance(net, Spiking) else None


@torch.no_grad()
def repeats(net: nn.Module, x: Tensor) -> bool:
    """Return whether one forward pass applies a weight layer several times: in a loop over time, to a batch of time steps, or
    because the layer is used in several places. Time steps that a `SpikingNetwork` folds into the batch do not count.

    Arguments:
        x: an image, ``[1,C,H,W]``.
    """
    fresh = view(net).eval()
    folds = isinstance(fresh, SpikingNetwork)
    shown: Counter[int] = Counter()

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        shown[id(layer)] += 1 if folds else len(output)

    for layer in weight_layers(fresh).values():
        layer.register_forward_hook(count)
    fresh(x)
    return max(shown.values(), default=0) > 1


def thresholds(net: nn.Module) -> dict[str, float]:
    """Return the mean threshold of every layer of neurons, in firing order; empty unless ``net`` is a `SpikingNetwork`."""
    if not isinstance(net, SpikingNetwork):
        return {}
    return {name: float(value.detach().mean()) for name, value in net.thresholds.items()}


def firing_rates(net: nn.Module, data: Any, batch: int = 250) -> dict[str, float]:
    """Return spikes per neuron and time step in every layer of neurons, in firing order, averaged over ``data`` (see
    `as_samples`); empty for an ANN."""
    data = as_samples(data)
    device = next(net.parameters(), data.labels).device
    return net.rates(x.to(device) for x, _, _ in data.batches(batch)) if isinstance(net, Spiking) else {}


def stored_weights(net: nn.Module) -> tuple[int, int]:
    """Return the number of nonzero weights of convolutions and linear layers, and the number of all their weights."""
    weights = [weight_of(layer) for layer in weight_layers(net).values()]
    return sum(int(w.count_nonzero()) for w in weights), sum(w.numel() for w in weights)


def measured(here: Evaluated) -> Layers:
    """Measure any network; an ANN has weights only."""
    rates = here.mean(firing_rates(here.net, here.mine, here.batch))
    return Layers(thresholds=thresholds(here.net), firing_rates=rates, weights=stored_weights(here.net))


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of thresholds and firing rates per layer of neurons, and of nonzero weights of sparse networks."""
    found = [row.report.found(LAYERS) for row in rows]
    neurons = [(row.network, layers) for row, layers in zip(rows, found, strict=True) if layers and layers.thresholds]
    table = side_by_side("neurons", [(f"{network}: threshold / rate", _cells(layers)) for network, layers in neurons])
    weights = [layers.weights for _, layers in neurons]
    if any(stored < count for stored, count in weights):
        table[1].append(["nonzero weights", *(f"{stored:,} of {count:,}" for stored, count in weights)])
    of, per_step = "layer of neurons, in firing order", " (spikes per neuron and step)"
    figures = (
        Dots("Threshold", "", of, tuple(layers.thresholds if layers else {} for layers in found)),
        Dots("Firing rate", per_step, of, tuple(layers.firing_rates if layers else {} for layers in found)),
    )
    about = "Rates are spikes per neuron and time step; thresholds are means over a layer."
    return [Section("layers", "Thresholds and firing rates", about, table, figures=figures)]


def _cells(layers: Layers) -> dict[str, str]:
    rates = layers.firing_rates
    return {name: f"{value:.3f} / {rates.get(name, math.nan):.3f}" for name, value in layers.thresholds.items()}


LAYERS = Measure("layers", Layers, measured, sections)
