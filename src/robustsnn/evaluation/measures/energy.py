"""Synaptic operations and their energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robustsnn.compute import view
from robustsnn.compute.rewiring import with_tensors
from robustsnn.data import as_samples
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Dots, Measure, Section, side_by_side
from robustsnn.evaluation.measures.layers import repeats
from robustsnn.evaluation.measures.spikes import fed_by_spikes
from robustsnn.evaluation.report import Row
from robustsnn.models import baked, weight_layers, weight_of
from robustsnn.models.layers import WeightLayer
from robustsnn.spiking import ForeignNetwork, SpikingNetwork


class Operations(BaseModel, frozen=True):
    """Operations of one weight layer per image, summed over time steps, averaged over images.

    Arguments:
        macs: multiply-accumulates of a layer with analog inputs: one per weight and output position.
        acs: accumulates of a layer with spike inputs: one per spike and outgoing synapse.
        dense: multiply-accumulates of the same layer in an ANN.
    """

    macs: float
    acs: float
    dense: float


class Energy(BaseModel, frozen=True):
    """Operations per weight layer."""

    operations: dict[str, Operations]


@dataclass(frozen=True)
class Joules:
    """Energy in picojoules of a multiply-accumulate (``mac``) and of an accumulate (``ac``)."""

    mac: float
    ac: float

    def ann(self, layers: Mapping[str, Operations]) -> float:
        """Return nanojoules per image of an ANN with the same layers."""
        return sum(layer.dense for layer in layers.values()) * self.mac / 1000

    def __call__(self, layers: Mapping[str, Operations]) -> float:
        """Return nanojoules per image.

        >>> Joules(mac=4.0, ac=1.0)({"a": Operations(macs=100, acs=0, dense=100), "b": Operations(macs=0, acs=50, dense=90)})
        0.45
        """
        return sum(layer.macs * self.mac + layer.acs * self.ac for layer in layers.values()) / 1000


UNCOUNTED = nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention | nn.Bilinear
"""Layers whose multiplications torch's FLOP counter may miss."""

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

PRESETS: dict[str, Joules] = {
    "fp32, 45 nm": Joules(mac=3.7 + 0.9, ac=0.9),
    "fp16, 45 nm": Joules(mac=1.1 + 0.4, ac=0.4),
    "int8, 45 nm": Joules(mac=0.2 + 0.03, ac=0.03),
}
"""Multiplication plus addition, and addition alone: Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9.
Arithmetic only; memory access depends on the chip and may cost more."""


@torch.no_grad()
def operations(net: nn.Module, data: Any, batch: int = 250) -> dict[str, Operations]:
    """Count synaptic operations per sample for every convolution and linear layer, averaged over ``data`` (see `as_samples`).

    Zero weights cost nothing. As usual, multiply-accumulates include zero padding; accumulates count only existing synapses.
    A layer has spike inputs if only reshaping, pooling and sums lie between neurons and layer. Every spike counts, whatever
    its sign; a neuron's multiple spikes count individually, and the division of average pooling is part of the weights.
    Layers before the first neurons count once per image if the network runs them once. Norms, biases and neuron updates are
    not counted.

    Returns:
        Operations by module path. Empty if they cannot be determined: for spiking networks that torch.fx cannot trace,
        networks of other libraries, networks that multiply by weights outside such layers (attention, functional
        convolutions, recurrent layers), and networks that apply a weight layer several times per pass. The latter may run
        over time in their own code, with spikes that are not visible here, or share a layer between places.
    """
    if isinstance(net, ForeignNetwork):
        return {}
    fresh, data = view(net).eval(), as_samples(data)
    device = next(net.parameters(), data.labels).device
    image = data.first(1).to(device).batch(torch.arange(1))[0]
    traced: tuple[Mapping[str, float], bool] | None = ({}, False)
    if isinstance(fresh, SpikingNetwork):
        traced = fed_by_spikes(fresh, image)
    if traced is None or repeats(fresh, image):
        return {}
    fed, all_in_layers = traced
    if not all_in_layers and _multiplies_elsewhere(fresh, image):
        return {}
    layers = weight_layers(fresh.body if isinstance(fresh, SpikingNetwork) else fresh)
    counters = {name: _Counter(layer, fed.get(name, 0.0)) for name, layer in layers.items()}
    for counter in counters.values():
        counter.layer.register_forward_hook(counter.count, with_kwargs=True)
    for x, _, _ in data.batches(batch):
        fresh(x.to(device))
    return {name: counter.per_image(len(data)) for name, counter in counters.items()}


def _multiplies_elsewhere(net: nn.Module, image: Tensor) -> bool:
    """Return whether a network multiplies tensors outside convolutions and linear layers."""
    fresh, products = baked(net), 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor) -> None:
        nonlocal products
        assert isinstance(layer, WeightLayer)
        (x,) = inputs or named.values()
        products += _uses(layer, x, output) * layer.weight.numel()

    for layer in weight_layers(fresh).values():
        layer.register_forward_hook(count, with_kwargs=True)
    with FlopCounterMode(display=False) as counter:
        fresh(image)
    return counter.get_total_flops() != 2 * products or any(isinstance(module, UNCOUNTED) for module in fresh.modules())


def _uses(layer: WeightLayer, x: Tensor, output: Tensor) -> int:
    """Return how often each weight is used: once per output position, or per input position of a transposed convolution."""
    return (x if isinstance(layer, TRANSPOSED) else output).numel() // len(layer.weight)


class _Counter:
    """Counts the operations of a layer; an input value of 1 represents ``unit`` spikes (0: the input is analog)."""

    def __init__(self, layer: WeightLayer, unit: float) -> None:
        self.layer, self.unit = layer, unit
        self.weights = int(weight_of(layer).count_nonzero())
        self.macs, self.acs, self.dense = 0.0, 0.0, 0
        self.fan_out: Tensor | None = None

    def count(self, _: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor) -> None:
        (x,) = inputs or named.values()
        self.dense = _uses(self.layer, x, output) // len(output) * self.weights
        if not self.unit:
            self.macs += self.dense * len(output)
            return
        if self.fan_out is None or self.fan_out.shape != x.shape[1:]:
            self.fan_out = fan_out(self.layer, x[:1])
        self.acs += self.unit * float((x.abs().sum(0, dtype=torch.float64) * self.fan_out).sum())

    def per_image(self, images: int) -> Operations:
        return Operations(macs=self.macs / images, acs=self.acs / images, dense=float(self.dense))


def fan_out(layer: WeightLayer, x: Tensor) -> Tensor:
    """Count the nonzero weights of each input of a layer: the gradient of the summed outputs with all such weights set to 1.

    Arguments:
        layer: a convolution or linear layer.
        x: an input, ``[1, ...]``; only its shape matters.
    """
    ones = torch.ones_like(x, dtype=torch.float64).requires_grad_()
    mask = (layer.weight != 0).to(torch.float64)
    changed = with_tensors(
        layer, {"weight": mask} if layer.bias is None else {"weight": mask, "bias": mask.new_zeros(layer.bias.shape)}
    )
    with torch.enable_grad():
        total = changed.forward(ones).sum()  # not __call__, so that the layer's hooks do not run
    return torch.autograd.grad(total, ones)[0][0]


def measured(here: Evaluated) -> Energy | None:
    """Measure energy; None if operations cannot be determined."""
    spent = operations(here.net, here.mine, here.batch)
    macs, acs = (here.mean({name: getattr(layer, kind) for name, layer in spent.items()}) for kind in ("macs", "acs"))
    layers = {n: layer.model_copy(update={"macs": macs[n], "acs": acs[n]}) for n, layer in spent.items()}
    return Energy(operations=layers) if layers else None


SPENT = (
    "Per sample, over all time steps: multiply-accumulates (MAC) of layers with analog inputs, and accumulates (AC) of "
    "layers with spike inputs, one per spike and synapse. Energy of this arithmetic at 45 nm (Horowitz, ISSCC 2014), in "
    "parentheses relative to an ANN with the same layers. Memory, norms and neuron updates are not counted."
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of operations and energy per image, with the ratio to the ANN's energy, and a table per layer."""
    found = [row.report.found(ENERGY) for row in rows]
    counted = [(row.network, energy.operations) for row, energy in zip(rows, found, strict=True) if energy]
    head = ["network", "multiply-accumulates", "accumulates", *(f"nJ, {name.partition(',')[0]}" for name in PRESETS)]
    each = [(network, {name: _done(layer) for name, layer in layers.items()}) for network, layers in counted]
    preset, joules = next(iter(PRESETS.items()))
    spent = [{n: joules({n: layer}) for n, layer in energy.operations.items()} if energy else {} for energy in found]
    figure = Dots("Energy", f" (nJ per sample, {preset})", "weight layer, in network order", tuple(spent))
    table = head, [[network, *_spent(layers)] for network, layers in counted]
    detail = "Synaptic operations per sample and layer.", side_by_side("layer", each)
    return [Section("energy", "Energy", SPENT, table, figures=(figure,), detail=detail)]


def _spent(layers: Mapping[str, Operations]) -> list[str]:
    cells = [f"{sum(layer.macs for layer in layers.values()):,.0f}", f"{sum(layer.acs for layer in layers.values()):,.0f}"]
    for joules in PRESETS.values():
        ann = joules.ann(layers)
        cells.append(f"{amount(joules(layers))} ({100 * joules(layers) / ann:.3g} %)" if ann else "-")
    return cells


def amount(nanojoules: float) -> str:
    """Format an energy without an exponent."""
    return f"{nanojoules:,.4g}" if nanojoules < 1e4 else f"{nanojoules:,.0f}"


def _done(layer: Operations) -> str:
    parts = [f"{count:,.0f} {what}" for count, what in ((layer.macs, "MAC"), (layer.acs, "AC")) if count]
    return " + ".join(parts) or "0"


ENERGY = Measure("energy", Energy, measured, sections)
