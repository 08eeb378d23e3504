"""The cost of single samples: spikes, synaptic operations, energy, and time steps to the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.compute.sums import running_sum
from robustsnn.data import Samples
from robustsnn.evaluation.measures.energy import Joules, fan_out, operations
from robustsnn.evaluation.measures.spikes import fed_by_spikes
from robustsnn.models import weight_layers
from robustsnn.spiking import ForeignNetwork, SpikingNetwork


@dataclass(frozen=True)
class Expense:
    """The cost of samples, ``[N]`` each; None where it cannot be determined, see `operations`.

    Arguments:
        spikes: spikes of all neurons and time steps.
        operations: accumulates of the layers with spike inputs: one per spike and outgoing synapse.
        energy: nanojoules of these accumulates and of all multiply-accumulates.
        decision: the first time step from which on the class of the summed logits stays the same. Layers of a synchronous
            network wait for one another, which counts. None if the network does not return the logits of every step.
    """

    spikes: Tensor
    operations: Tensor | None
    energy: Tensor | None
    decision: Tensor | None

    @staticmethod
    def joined(parts: Sequence[Expense]) -> Expense:
        """Join the costs of several batches."""
        spikes, *others = ([getattr(part, field.name) for part in parts] for field in fields(Expense))
        return Expense(torch.cat(spikes), *(None if column[0] is None else torch.cat(column) for column in others))

    @property
    def means(self) -> dict[str, float]:
        """The means over the samples, by name; without those that cannot be determined."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: float(values.double().mean()) for name, values in found.items() if values is not None}


@dataclass(frozen=True)
class Wiring:
    """The properties of a network that a `Meter` uses.

    Arguments:
        fed: spikes that an input value of 1 represents, for every weight layer with spike inputs.
        joules: energy of an operation.
        macs: multiply-accumulates per sample of the other layers; None if operations cannot be determined.
        waits: time steps before the output starts.
    """

    fed: Mapping[str, float]
    joules: Joules
    macs: float | None
    waits: int

    @staticmethod
    def of(net: SpikingNetwork | ForeignNetwork, samples: Samples, joules: Joules) -> Wiring:
        """Return the wiring of a network that takes such samples."""
        if not isinstance(net, SpikingNetwork):
            return Wiring({}, joules, None, 0)
        one, waits = samples.first(1), net.latency - net.timesteps
        layers = operations(net, one)
        image = one.to(next(net.parameters(), one.labels).device).batch(torch.arange(1))[0]
        traced = fed_by_spikes(view(net).eval(), image) if layers else None
        if traced is None:
            return Wiring({}, joules, None, waits)
        fed = {name: unit for name, unit in traced[0].items() if unit}
        return Wiring(fed, joules, sum(layer.macs for layer in layers.values()), waits)


@dataclass(frozen=True)
class Reading:
    """One forward pass: logits of the steps ``[T,N,K]``, spikes and accumulates per sample ``[N]``, with gradients."""

    steps: Tensor
    spikes: Tensor
    accumulates: Tensor | None

    @property
    def logits(self) -> Tensor:
        return self.steps.mean(0)

    @property
    def decision(self) -> Tensor:
        """The first step from which on the class of the running sum stays the same, ``[N]``, from 1 to T."""
        classes = self.logits.argmax(1)
        differs = running_sum(self.steps.detach(), 0)[:-1].argmax(-1) != classes
        number = torch.arange(1, len(self.steps), device=differs.device)[:, None]
        return (differs * number).amax(0) + 1 if len(number) else torch.ones_like(classes)


class Meter:
    """A view of a spiking network that counts: a call returns a `Reading`, with the gradients of the view."""

    def __init__(self, net: SpikingNetwork | ForeignNetwork, wiring: Wiring) -> None:
        self.net, self.wiring = view(net), wiring
        self._spikes: list[Tensor] = []
        self._accumulates: list[Tensor] = []
        if isinstance(self.net, SpikingNetwork):
            layers = weight_layers(self.net.body)
            for name, unit in wiring.fed.items():
                layers[name].register_forward_pre_hook(_Synapses(unit, self._accumulates), with_kwargs=True)
        neurons: Mapping[str, nn.Module] = self.net.neurons
        for neuron in neurons.values():
            whole = isinstance(self.net, ForeignNetwork) and self.net.library.sequences(neuron)
            neuron.register_forward_hook(partial(self._fired, int(whole)))

    def _fired(self, axis: int, _: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self._spikes.append(_each(_size(output[0] if isinstance(output, tuple) else output), axis))

    def __call__(self, x: Tensor) -> Reading:
        self._spikes.clear()
        self._accumulates.clear()
        steps = self.net.steps(x)
        spikes = _total(self._spikes, x)
        return Reading(steps, spikes, None if self.wiring.macs is None else _total(self._accumulates, x))

    def expense(self, read: Reading) -> Expense:
        """Return the cost of a pass."""
        wiring, known = self.wiring, len(read.steps) == self.net.timesteps
        energy = None
        if read.accumulates is not None:
            energy = ((wiring.macs or 0) * wiring.joules.mac + read.accumulates * wiring.joules.ac) / 1000
        return Expense(read.spikes, read.accumulates, energy, read.decision + wiring.waits if known else None)


class _Synapses:
    """A hook that adds the accumulates of a layer, one per spike and existing synapse, to a list."""

    def __init__(self, unit: float, found: list[Tensor]) -> None:
        self.unit, self.found = unit, found
        self.fan_out: Tensor | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        (x,) = inputs or named.values()
        if self.fan_out is None or self.fan_out.shape != x.shape[1:]:
            self.fan_out = self.unit * fan_out(layer, x[:1]).to(x.dtype)  # type: ignore[arg-type]
        self.found.append(_each(_size(x) * self.fan_out, 0))


def _size(spikes: Tensor) -> Tensor:
    """Return absolute values, with a derivative of 1 at 0, so that silent neurons have a gradient."""
    return torch.where(spikes < 0, -spikes, spikes)


def _each(values: Tensor, axis: int) -> Tensor:
    """Sum over all axes but one."""
    return values.movedim(axis, 0).flatten(1).sum(1, dtype=torch.float64)


def _total(found: list[Tensor], x: Tensor) -> Tensor:
    """Sum counts of samples ``[N]``, or of time steps and samples ``[T*N]``."""
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    return torch.stack([zero, *(each.view(-1, len(x)).sum(0) for each in found)]).sum(0)
