"""What a network spends: spikes per neuron and time step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustsnn.data import Images
from robustsnn.spiking import Neuron, SpikingNetwork


def thresholds(net: nn.Module) -> dict[str, float]:
    """The threshold of every layer of neurons (its mean where a layer has several), in firing order."""
    if not isinstance(net, SpikingNetwork):
        return {}
    return {name: float(value.detach().mean()) for name, value in net.thresholds.items()}


@torch.no_grad()
def firing_rates(net: nn.Module, data: Images, batch: int = 250) -> dict[str, float]:
    """Spikes per neuron and time step in every layer of neurons, in firing order, over all the images."""
    if not isinstance(net, SpikingNetwork):
        return {}
    view = net.rewired(lambda _, n: Neuron(n.threshold, n.dynamics, first=n.first, fire=n.fire)).eval()
    total = dict.fromkeys(view.thresholds, 0.0)
    for name, neuron in view.neurons.items():

        def count(_: nn.Module, __: object, spikes: Tensor, name: str = name) -> None:
            total[name] += float(spikes.mean(dtype=torch.float64)) * len(spikes) / view.dynamics.timesteps

        neuron.register_forward_hook(count)
    for x, _, _ in data.batches(batch):
        view(x.to(next(net.parameters(), x).device))
    return {name: value / len(data) for name, value in total.items()}
