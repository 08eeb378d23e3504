"""What is read off a network as it is: time steps, thresholds, spikes per neuron and time step, weights to store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.data import as_samples
from robustsnn.models import weight_layers
from robustsnn.spiking import Spiking, SpikingNetwork


def timesteps(net: nn.Module) -> int | None:
    """For how many steps a network runs; None for an ANN."""
    return net.timesteps if isinstance(net, Spiking) else None


@torch.no_grad()
def repeats(net: nn.Module, x: Tensor) -> bool:
    """Whether one forward pass shows an image to a layer of weights several times: in a loop over time, as a batch of time
    steps, or to a layer that stands in several places. The steps that a `SpikingNetwork` folds into the batch do not count.

    Arguments:
        x: the image, ``[1,C,H,W]``.
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
    """The threshold of every layer of neurons (its mean where a layer has several), in firing order; another library's keep
    theirs to themselves."""
    if not isinstance(net, SpikingNetwork):
        return {}
    return {name: float(value.detach().mean()) for name, value in net.thresholds.items()}


def firing_rates(net: nn.Module, data: Any, batch: int = 250) -> dict[str, float]:
    """Spikes per neuron and time step in every layer of neurons, in firing order, over all the samples that ``data`` holds, as
    `as_samples` takes it."""
    data = as_samples(data)
    device = next(net.parameters(), data.labels).device
    return net.rates(x.to(device) for x, _, _ in data.batches(batch)) if isinstance(net, Spiking) else {}


def stored_weights(net: nn.Module) -> tuple[int, int]:
    """How many weights of convolutions and linear layers are not 0, and how many there are."""
    weights = [layer.weight for layer in weight_layers(net).values()]
    return sum(int(w.count_nonzero()) for w in weights), sum(w.numel() for w in weights)
