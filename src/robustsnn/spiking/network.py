"""Spiking networks with the signature of an ANN: time is folded into the batch, and state lives for one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute.layout import layout
from robustsnn.compute.norm import exact
from robustsnn.compute.recall import recalling
from robustsnn.compute.rewiring import rewire, view
from robustsnn.names import nearest
from robustsnn.spiking.dynamics import Dynamics, Fire
from robustsnn.spiking.layer import NeuronLayer
from robustsnn.spiking.neurons import Neuron
from robustsnn.spiking.signal import Constant, Signal
from robustsnn.spiking.spiking import Spiking
from robustsnn.types import Inputs, StepLogits


@dataclass(frozen=True)
class Slot:
    """A position for neurons in a body: its module path, and whether its input is constant over time."""

    name: str
    first: bool = False


class SpikingNetwork(Spiking):
    """An ANN body with neurons in place of its ReLUs, run for T steps; logits are averaged over time.

    Arguments:
        body: a module with one ``nn.ReLU`` (or already a `NeuronLayer`) per activation; `robustsnn.conversion.trace` makes one
            from any ANN. Its tensors are shared and its modules are not changed.
        dynamics: time steps, neuron and surrogate of all layers.
        signal: how an input becomes T steps: `Constant` or `Frames`.
        slots: positions of the neurons in firing order, marked where the input is constant. None uses every ``nn.ReLU`` in
            module order and repeats a constant input T times.
        conversion_report: a `robustsnn.conversion.ConversionReport`; None for a network from a checkpoint.
        recipe: of the checkpoint that the network was loaded from; `robustsnn.save` writes it again. `robustsnn.train` and
            `robustsnn.training.prune` remove how the original was trained; remove it yourself after other changes.

    Raises:
        ValueError: the body has no slot, or a slot is not a ReLU.

    >>> net = SpikingNetwork(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), Dynamics(5))
    >>> net(torch.zeros(7, 1, 2, 2)).shape, net.steps(torch.zeros(7, 1, 2, 2)).shape, list(net.thresholds)
    (torch.Size([7, 2]), torch.Size([5, 7, 2]), ['2'])
    """

    def __init__(
        self,
        body: nn.Module,
        dynamics: Dynamics = Dynamics(),
        signal: Signal = Constant(),
        slots: Sequence[Slot] | None = None,
        conversion_report: Any = None,
        recipe: Mapping[str, Any] = {},
    ) -> None:
        super().__init__()
        modules = dict(body.named_modules())
        if slots is None:
            fit = {name: module for name, module in modules.items() if isinstance(module, nn.ReLU | NeuronLayer)}
            slots = [Slot(name, getattr(module, "first", False)) for name, module in fit.items()]
        if not slots:
            raise ValueError(
                f"{type(body).__name__} has no nn.ReLU that neurons could replace: turn functional activations into "
                "modules with robustsnn.conversion.trace"
            )
        for slot in slots:
            if not isinstance(modules.get(slot.name), nn.ReLU | NeuronLayer):
                raise ValueError(f"slot {slot.name!r} is not a ReLU of {type(body).__name__}: {nearest(slot.name, modules)}")
        self.slots = tuple(slots)
        self.dynamics = dynamics
        self.signal = signal
        self.conversion_report = conversion_report
        self.recipe = dict(recipe)
        self.channels_last = layout(body) == torch.channels_last  # memory format of the images, kept by all layers
        first = {slot.name: slot.first and signal.once for slot in slots}

        def place(name: str, module: nn.Module) -> nn.Module | None:
            if name not in first:
                return exact(module) if type(module) is nn.BatchNorm2d and not module._modules else None
            threshold = module.threshold if isinstance(module, NeuronLayer) else nn.Parameter(_like(body, 1.0))
            return NeuronLayer(threshold, dynamics, first=first[name]).train(module.training)

        self.filters: nn.Sequential | None = None
        self.body = rewire(body, place)
        self.training = body.training

    @property
    def thresholds(self) -> dict[str, nn.Parameter]:
        """The trainable thresholds by module path, in firing order."""
        return {name: neuron.threshold for name, neuron in self.neurons.items()}

    @property
    def leaks(self) -> dict[str, nn.Parameter]:
        """The trained leaks by module path, in firing order; empty unless the neuron trains its leak, as `PLIF` does."""
        return {name: layer.trained["leak"] for name, layer in self.neurons.items() if "leak" in layer.trained}

    @property
    def neurons(self) -> dict[str, NeuronLayer]:
        """The neuron layers by module path, in firing order."""
        return {slot.name: self.body.get_submodule(slot.name) for slot in self.slots}  # type: ignore[misc]

    @property
    def timesteps(self) -> int:
        return self.dynamics.timesteps

    @property
    def latency(self) -> int:
        """Number of time steps until the logits are available."""
        return self.timesteps * (len(self.slots) if self.dynamics.synchronous else 1)

    @torch.no_grad()
    def rates(self, batches: Iterable[Tensor]) -> dict[str, float]:
        fresh, images = view(self).eval(), 0
        total = dict.fromkeys(self.neurons, 0.0)
        for name, neuron in fresh.neurons.items():

            def count(_: nn.Module, __: object, spikes: Tensor, name: str = name) -> None:
                total[name] += float(spikes.mean(dtype=torch.float64)) * len(spikes) / self.timesteps

            neuron.register_forward_hook(count)
        for x in batches:
            fresh(x)
            images += len(x)
        return {name: value / images for name, value in total.items()}

    def leads(self, path: object) -> bool:
        """Return whether a gradient path supports the network's neurons; a path names the neurons that it is limited to."""
        return isinstance(self.dynamics.neuron, getattr(path, "neurons", Neuron))

    def begun(self, x: Tensor) -> Tensor:
        """Return the body's input for inputs ``[N, ...]``: unchanged if the first neurons take a constant input, else all T
        steps, ``[T*N, ...]``. Raises ValueError if the signal cannot show the inputs."""
        x = x if self.filters is None else self.filters(x)
        if self.signal.once and any(slot.first for slot in self.slots):
            return x
        return self.signal.shown(x, self.timesteps)

    def steps(self, x: Inputs) -> StepLogits:
        """Return the logits of every time step, ``[N, ...] -> [T,N,K]``; `Frames` take ``[N,T,C,H,W]``, else ``[N,C,H,W]``."""
        x = self.begun(x)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        with recalling() if torch.is_grad_enabled() else nullcontext():
            return self.body(x).unflatten(0, (self.timesteps, -1))  # type: ignore[no-any-return]

    def rewired(self, change: Callable[[str, NeuronLayer], nn.Module], dynamics: Dynamics | None = None) -> SpikingNetwork:
        """Return a view in which ``change(name, layer)`` replaces every neuron layer."""
        paths = {f"body.{name}".rstrip("."): name for name in self.neurons}

        def swap(name: str, module: nn.Module) -> nn.Module | None:
            if name not in paths:
                return None
            assert isinstance(module, NeuronLayer)
            return change(paths[name], module).train(module.training)

        view = rewire(self, swap)
        assert isinstance(view, SpikingNetwork)
        view.dynamics = dynamics or self.dynamics
        return view

    def firing(self, fire: Fire, dynamics: Dynamics | None = None) -> SpikingNetwork:
        """Return a view whose neurons use another function of the same forward pass, as a gradient path needs."""
        dynamics = dynamics or self.dynamics
        return self.rewired(lambda _, neuron: neuron.changed(dynamics=dynamics, fire=fire), dynamics)

    def filtered(self, *filters: nn.Module) -> SpikingNetwork:
        """Return a view over the same weights whose inputs first pass through layers without tensors, such as
        `robustsnn.models.Denoise`. They are part of the network, so attacks along all gradient paths differentiate them."""
        fresh = view(self)
        fresh.filters = nn.Sequential(*(self.filters or ()), *filters).train(self.training)
        return fresh

    def replace(
        self, thresholds: Mapping[str, float | Tensor] | None = None, signal: Signal | None = None, **dynamics: Any
    ) -> SpikingNetwork:
        """Return a view over the same weights with other thresholds, another signal, or other fields of `Dynamics`. New
        thresholds are given by module path and are trainable.

        Raises:
            ValueError: a path is unknown, or a threshold is not finite.
            TypeError: `Dynamics` has no such field.

        >>> net = SpikingNetwork(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)))
        >>> net.replace({"0": 0.5}, timesteps=3).steps(torch.ones(1, 1, 2, 2)).shape
        torch.Size([3, 1, 2])
        """
        if unknown := sorted(set(dynamics) - {field.name for field in fields(Dynamics)}):
            raise TypeError(f"Dynamics has no field {unknown[0]!r}: to change the neuron, use replace(neuron=LIF(leak=0.9))")
        changed = replace(self.dynamics, **dynamics)
        signal = signal or self.signal
        thresholds = dict(thresholds or {})
        first = {slot.name: slot.first and signal.once for slot in self.slots}
        for name, value in thresholds.items():
            if name not in self.neurons:
                raise ValueError(f"no neurons at {name!r}: {nearest(name, self.neurons)}")
            if bad := int((~torch.as_tensor(value).isfinite()).sum()):
                raise ValueError(f"the threshold of {name!r} must be finite; {bad} of its values are not: give finite numbers")

        def change(name: str, neuron: NeuronLayer) -> NeuronLayer:
            threshold = thresholds.get(name, neuron.threshold)
            if not isinstance(threshold, nn.Parameter):
                threshold = nn.Parameter(_like(self.body, threshold))
            return neuron.changed(threshold=threshold, dynamics=changed, first=first[name])

        view = self.rewired(change, changed)
        view.signal = signal
        return view

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Share the network on the Hugging Face Hub, with a model card: `robustsnn.deploy.push_to_hub`.

        >>> SpikingNetwork(nn.Sequential(nn.ReLU())).push_to_hub("me/net")  # doctest: +SKIP
        """
        from robustsnn.deploy.hub import push_to_hub

        return push_to_hub(self, repo, **options)


def _like(body: nn.Module, value: float | Tensor) -> Tensor:
    """Return a copy of the value on the device and in the dtype of the body's parameters."""
    reference = next(body.parameters(), torch.empty(0))
    return torch.as_tensor(value).detach().clone().to(reference.device, reference.dtype)


def spiking_only(path: object, net: nn.Module) -> SpikingNetwork:
    """Return the network for a path that goes through neurons. Raises ValueError if it is not a `SpikingNetwork`."""
    if not isinstance(net, SpikingNetwork):
        raise ValueError(f"{path} needs a SpikingNetwork, not {type(net).__name__}: use Plain() for any other network")
    return net
