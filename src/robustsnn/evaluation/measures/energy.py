"""What a network spends: operations of its synapses and their energy."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor, fx, nn

from robustsnn.compute import view
from robustsnn.compute.rewire import with_tensors
from robustsnn.conversion.fold import faithful
from robustsnn.data import as_samples
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Dots, Measure, Section, side_by_side
from robustsnn.evaluation.measures.layers import repeats
from robustsnn.evaluation.report import Row
from robustsnn.models import weight_layers
from robustsnn.models.layers import WeightLayer
from robustsnn.spiking import ForeignNetwork, NeuronLayer, SpikingNetwork


class Operations(BaseModel, frozen=True):
    """What one layer of weights does for an image, all time steps together, on average over images.

    Arguments:
        macs: multiply-accumulates: of a layer fed by analog values, one per weight and place of its output.
        acs: accumulates: of a layer fed by spikes, one per spike and synapse behind it.
        dense: multiply-accumulates of the same layer in an ANN.
    """

    macs: float
    acs: float
    dense: float


class Energy(BaseModel, frozen=True):
    """Operations per layer of weights."""

    operations: dict[str, Operations]


@dataclass(frozen=True)
class Joules:
    """Energy of an operation, in picojoules: ``mac`` a multiply-accumulate, ``ac`` an accumulate."""

    mac: float
    ac: float

    def ann(self, layers: Mapping[str, Operations]) -> float:
        """Nanojoules per image of the ANN of the same layers."""
        return sum(layer.dense for layer in layers.values()) * self.mac / 1000

    def __call__(self, layers: Mapping[str, Operations]) -> float:
        """Nanojoules per image.

        >>> Joules(mac=4.0, ac=1.0)({"a": Operations(macs=100, acs=0, dense=100), "b": Operations(macs=0, acs=50, dense=90)})
        0.45
        """
        return sum(layer.macs * self.mac + layer.acs * self.ac for layer in layers.values()) / 1000


PRESETS: dict[str, Joules] = {
    "fp32, 45 nm": Joules(mac=3.7 + 0.9, ac=0.9),
    "fp16, 45 nm": Joules(mac=1.1 + 0.4, ac=0.4),
    "int8, 45 nm": Joules(mac=0.2 + 0.03, ac=0.03),
}
"""Multiplication plus addition, and addition alone: Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9.
Arithmetic only: fetching weights and potentials from memory, which depends on the chip, may cost more."""


@torch.no_grad()
def operations(net: nn.Module, data: Any, batch: int = 250) -> dict[str, Operations]:
    """Synaptic operations per sample of every convolution and linear layer, by module path, over all of ``data``, which is as
    `as_samples` takes it.

    Weights that are 0 cost nothing. Multiply-accumulates include those with zeros of the padding, as is usual; spikes meet
    only synapses that are there. A layer is fed by spikes where only reshaping, pooling and sums lie in between; then every
    spike counts, whatever its sign, and each one where a neuron emits several, since the pool's division is part of the
    weights. The layers before the first spikes work once per image, not once per step, where the network runs them so. Norms,
    biases and the neurons' own updates are not counted.

    Returns:
        Nothing where operations cannot be told: for a spiking network whose body torch.fx cannot follow, for another
        library's, and for any network that shows an image to a layer of weights several times in one pass. That may be a
        spiking network that is run in time by its own code, whose spikes nobody sees here, or one that shares a layer between
        places on purpose.
    """
    if isinstance(net, ForeignNetwork):
        return {}
    fresh, data = view(net).eval(), as_samples(data)
    device = next(net.parameters(), data.labels).device
    image = data.first(1).to(device).batch(torch.arange(1))[0]
    if repeats(fresh, image):
        return {}
    fed: Mapping[str, float] | None = {}
    if isinstance(fresh, SpikingNetwork):
        fed = fed_by_spikes(fresh, image)
    if fed is None:
        return {}
    layers = weight_layers(fresh.body if isinstance(fresh, SpikingNetwork) else fresh)
    counters = {name: _Counter(layer, fed.get(name, 0.0)) for name, layer in layers.items()}
    for counter in counters.values():
        counter.layer.register_forward_hook(counter.count, with_kwargs=True)
    for x, _, _ in data.batches(batch):
        fresh(x.to(device))
    return {name: counter.per_image(len(data)) for name, counter in counters.items()}


class _Counter:
    """Counts what a layer does: ``unit`` spikes stand behind a value of 1 at its input; 0: its input is no spikes."""

    def __init__(self, layer: WeightLayer, unit: float) -> None:
        self.layer, self.unit = layer, unit
        self.weights = int(layer.weight.count_nonzero())
        self.macs, self.acs, self.dense = 0.0, 0.0, 0
        self.fan_out: Tensor | None = None

    def count(self, _: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor) -> None:
        (x,) = inputs or named.values()
        self.dense = output.numel() // len(output) // len(self.layer.weight) * self.weights
        if not self.unit:
            self.macs += self.dense * len(output)
            return
        if self.fan_out is None or self.fan_out.shape != x.shape[1:]:
            self.fan_out = fan_out(self.layer, x[:1])
        self.acs += self.unit * float((x.abs().sum(0, dtype=torch.float64) * self.fan_out).sum())

    def per_image(self, images: int) -> Operations:
        return Operations(macs=self.macs / images, acs=self.acs / images, dense=float(self.dense))


def fan_out(layer: WeightLayer, x: Tensor) -> Tensor:
    """How many weights that are not 0 each input of a layer meets: the gradient of the sum of its outputs, were these all 1.

    Arguments:
        layer: a convolution or linear layer.
        x: an input, ``[1, ...]``; only its shape matters.
    """
    ones = torch.ones_like(x, dtype=torch.float64).requires_grad_()
    mask = (layer.weight != 0).to(torch.float64)
    changed = with_tensors(
        layer, {"weight": mask} if layer.bias is None else {"weight": mask, "bias": mask.new_zeros(len(mask))}
    )
    with torch.enable_grad():
        total = changed.forward(ones).sum()  # the method itself: whoever listens to the layer is not to hear of this
    return torch.autograd.grad(total, ones)[0][0]


SHAPING = {
    *(nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d),
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.cat, F.dropout),
    *("flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"),
    *(operator.add, operator.iadd, torch.add, "add", "add_", operator.getitem),
}
"""Modules, functions and methods behind which a value stands for as many spikes as before."""

POOLING = {nn.AvgPool1d, nn.AvgPool2d, F.avg_pool1d, F.avg_pool2d}
AVERAGING = {nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, torch.mean, "mean"}


def fed_by_spikes(net: SpikingNetwork, x: Tensor) -> dict[str, float] | None:
    """How many spikes a value of 1 at the input of each layer of weights stands for, 0 for layers fed by analog values; None
    where the forward pass cannot be followed.

    Arguments:
        net: in eval mode.
        x: an image, ``[1,C,H,W]``.
    """
    run = faithful(net.body, net.begun(x), lambda graph: _Followed(net.body, garbage_collect_values=False, graph=graph))
    return None if run is None else run.fed


class _Followed(fx.Interpreter):
    """Runs a body step by step, and notes for every value how many spikes 1 of it stands for."""

    fed: dict[str, float]
    units: dict[fx.Node, float]

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            self.fed, self.units = {}, {}
        tensors = [node for node in n.all_input_nodes if isinstance(self.env[node], Tensor)]
        units = {self.units[node] for node in tensors}
        unit = units.pop() if len(units) == 1 else 0.0
        out = super().run_node(n)
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        kind = type(module) if module is not None else n.target
        if isinstance(module, WeightLayer):
            name = str(n.target)
            self.fed[name] = unit if self.fed.get(name, unit) == unit else 0.0
        if isinstance(module, NeuronLayer):
            self.units[n] = 1.0
        elif kind in POOLING:
            kernel: Any = module.kernel_size if module is not None else n.kwargs.get("kernel_size") or n.args[1]
            self.units[n] = unit * (prod(kernel) if isinstance(kernel, tuple) else kernel ** (out.dim() - 2))
        elif kind in AVERAGING:
            self.units[n] = unit * self.env[tensors[0]].numel() / out.numel()
        else:
            self.units[n] = unit if kind in SHAPING else 0.0
        return out


def measured(here: Evaluated) -> Energy | None:
    """Of a network that can be followed."""
    spent = operations(here.net, here.mine, here.batch)
    macs, acs = (here.mean({name: getattr(layer, kind) for name, layer in spent.items()}) for kind in ("macs", "acs"))
    layers = {n: layer.model_copy(update={"macs": macs[n], "acs": acs[n]}) for n, layer in spent.items()}
    return Energy(operations=layers) if layers else None


SPENT = (
    "Per image, over all time steps: multiply-accumulates (MAC) of layers fed by analog values, and accumulates (AC) of "
    "layers fed by spikes, one per spike and synapse. Energy of this arithmetic at 45 nm (Horowitz, ISSCC 2014), and its "
    "share of what the ANN of the same layers needs. Memory, norms and the updates of neurons are not counted."
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Operations and energy per image, with the share of the ANN's energy, and layer by layer."""
    found = [row.report.found(ENERGY) for row in rows]
    counted = [(row.network, energy.operations) for row, energy in zip(rows, found, strict=True) if energy]
    head = ["network", "multiply-accumulates", "accumulates", *(f"nJ, {name.partition(',')[0]}" for name in PRESETS)]
    each = [(network, {name: _done(layer) for name, layer in layers.items()}) for network, layers in counted]
    preset, joules = next(iter(PRESETS.items()))
    spent = [{n: joules({n: layer}) for n, layer in energy.operations.items()} if energy else {} for energy in found]
    figure = Dots("Energy", f" (nJ per image, {preset})", "layer of weights, in the order of the network", tuple(spent))
    table = head, [[network, *_spent(layers)] for network, layers in counted]
    detail = "Synaptic operations per image, layer by layer.", side_by_side("layer", each)
    return [Section("energy", "Energy", SPENT, table, figures=(figure,), detail=detail)]


def _spent(layers: Mapping[str, Operations]) -> list[str]:
    cells = [f"{sum(layer.macs for layer in layers.values()):,.0f}", f"{sum(layer.acs for layer in layers.values()):,.0f}"]
    for joules in PRESETS.values():
        ann = joules.ann(layers)
        cells.append(f"{joules(layers):,.4g} ({100 * joules(layers) / ann:.3g} %)" if ann else "-")
    return cells


def _done(layer: Operations) -> str:
    parts = [f"{count:,.0f} {what}" for count, what in ((layer.macs, "MAC"), (layer.acs, "AC")) if count]
    return " + ".join(parts) or "0"


ENERGY = Measure("energy", Energy, measured, sections)
