"""A spiking network with the signature of an ANN: time is folded into the batch, state lives for one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute.layout import layout
from robustsnn.compute.norm import exact
from robustsnn.compute.recall import again, known, recalling
from robustsnn.compute.rewire import rewire
from robustsnn.names import nearest
from robustsnn.spiking.kernels import fused_lif, spikes_of
from robustsnn.spiking.neuron import Dynamics
from robustsnn.types import Images, Logits, StepLogits

Fire = Callable[[Tensor, Tensor, Dynamics], Tensor]
"""``fire(current [T,N,...], threshold, dynamics) -> spikes [T,N,...]``: the forward of `lif`, with a gradient of its own."""


@dataclass(frozen=True)
class Slot:
    """A place for neurons in a body: its module path, and whether it sees the constant input before time begins."""

    name: str
    first: bool = False


class Neuron(nn.Module):
    """A layer of neurons with a trainable threshold (and leak, where the dynamics say so), in the slot of a ReLU.

    Input ``[T*N, ...]`` (``[N, ...]`` where ``first``: the same current at every step), output spikes ``[T*N, ...]``.
    """

    def __init__(
        self,
        threshold: nn.Parameter,
        dynamics: Dynamics,
        *,
        first: bool = False,
        fire: Fire = fused_lif,
        leak: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        if dynamics.train_leak and leak is None:
            leak = nn.Parameter(torch.as_tensor(dynamics.leak).detach().to(threshold.device, threshold.dtype).clone())
        self.threshold = threshold
        self.leak = leak
        self.dynamics = dynamics
        self.first = first
        self.fire = fire

    def changed(
        self, *, threshold: nn.Parameter | None = None, dynamics: Dynamics | None = None, fire: Fire | None = None
    ) -> Neuron:
        """A like layer over the same parameters, with another threshold, other dynamics, or another way to fire."""
        threshold = self.threshold if threshold is None else threshold
        dynamics = dynamics or self.dynamics
        same_leak = (dynamics.leak, dynamics.train_leak) == (self.dynamics.leak, self.dynamics.train_leak)
        leak = self.leak if same_leak else None
        return Neuron(threshold, dynamics, first=self.first, fire=fire or self.fire, leak=leak)

    def forward(self, x: Tensor) -> Tensor:
        dynamics = self.dynamics if self.leak is None else replace(self.dynamics, leak=self.leak)
        steps = dynamics.timesteps
        current = x.expand(steps, *x.shape) if self.first else x.unflatten(0, (steps, -1))
        spikes = self.fire(current, self.threshold, dynamics).flatten(0, 1)
        if self.fire is not fused_lif or not spikes.requires_grad:
            return spikes
        given, threshold = again(current) or current.detach, self.threshold.detach()
        return known(spikes, lambda: spikes_of(given(), threshold, dynamics).flatten(0, 1))

    def extra_repr(self) -> str:
        return f"threshold={self.threshold.detach().mean():.4g}, first={self.first}"


class SpikingNetwork(nn.Module):
    """A plain body with neurons in its ReLU slots, run for T steps on a constant input; logits are the mean over time.

    Arguments:
        body: a module with one ``nn.ReLU`` (or already a `Neuron`) per activation; `robustsnn.conversion.trace` makes one
            of any ANN. Its tensors are shared, its modules are not touched.
        dynamics: time steps, leak, reset and surrogate of all neurons.
        slots: the places of neurons in firing order, with those that see the input before time begins. None takes every
            ``nn.ReLU`` in module order and repeats the image T times at the input.
        conversion_report: what conversion did with every layer, a `robustsnn.conversion.ConversionReport`; None where the
            network comes from elsewhere, such as a checkpoint.

    Raises:
        ValueError: the body has no slot, or a slot is no ReLU.

    >>> net = SpikingNetwork(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), Dynamics(5))
    >>> net(torch.zeros(7, 1, 2, 2)).shape, net.steps(torch.zeros(7, 1, 2, 2)).shape, list(net.thresholds)
    (torch.Size([7, 2]), torch.Size([5, 7, 2]), ['2'])
    """

    def __init__(
        self,
        body: nn.Module,
        dynamics: Dynamics = Dynamics(),
        slots: Sequence[Slot] | None = None,
        conversion_report: Any = None,
    ) -> None:
        super().__init__()
        modules = dict(body.named_modules())
        if slots is None:
            slots = [
                Slot(name, getattr(module, "first", False))
                for name, module in modules.items()
                if isinstance(module, nn.ReLU | Neuron)
            ]
        if not slots:
            raise ValueError(
                f"{type(body).__name__} has no nn.ReLU for neurons to take the place of: "
                "robustsnn.conversion.trace turns functional activations into modules"
            )
        for slot in slots:
            if not isinstance(modules.get(slot.name), nn.ReLU | Neuron):
                raise ValueError(f"slot {slot.name!r} is no nn.ReLU of {type(body).__name__}: {nearest(slot.name, modules)}")
        self.slots = tuple(slots)
        self.dynamics = dynamics
        self.conversion_report = conversion_report
        self.memory_format = layout(body)  # of images; all layers follow
        first = {slot.name: slot.first for slot in slots}

        def place(name: str, module: nn.Module) -> nn.Module | None:
            if name not in first:
                return exact(module) if type(module) is nn.BatchNorm2d and not module._modules else None
            threshold = module.threshold if isinstance(module, Neuron) else nn.Parameter(_like(body, 1.0))
            return Neuron(threshold, dynamics, first=first[name]).train(module.training)

        self.body = rewire(body, place)
        self.training = body.training

    @property
    def thresholds(self) -> dict[str, nn.Parameter]:
        """The trainable thresholds by module path, in firing order."""
        return {name: neuron.threshold for name, neuron in self.neurons.items()}

    @property
    def leaks(self) -> dict[str, nn.Parameter]:
        """The trainable leaks by module path, in firing order; none unless ``dynamics.train_leak``."""
        return {name: neuron.leak for name, neuron in self.neurons.items() if neuron.leak is not None}

    @property
    def neurons(self) -> dict[str, Neuron]:
        """The layers of neurons by module path, in firing order."""
        found = {slot.name: self.body.get_submodule(slot.name) for slot in self.slots}
        return {name: module for name, module in found.items() if isinstance(module, Neuron)}

    def begun(self, x: Tensor) -> Tensor:
        """What the body is given for images ``[N, ...]``: these where neurons see them before time begins, else T times them,
        ``[T*N, ...]``."""
        if any(slot.first for slot in self.slots):
            return x
        return x.expand(self.dynamics.timesteps, *x.shape).flatten(0, 1)

    def steps(self, x: Images) -> StepLogits:
        """Logits of every time step, ``[N,C,H,W] -> [T,N,K]``."""
        steps, x = self.dynamics.timesteps, self.begun(x)
        if x.dim() == 4:
            x = x.contiguous(memory_format=self.memory_format)
        with recalling() if torch.is_grad_enabled() else nullcontext():
            return self.body(x).unflatten(0, (steps, -1))  # type: ignore[no-any-return]

    def forward(self, x: Images) -> Logits:
        """Logits averaged over time, ``[N,C,H,W] -> [N,K]``."""
        return self.steps(x).mean(0)

    def rewired(self, change: Callable[[str, Neuron], nn.Module], dynamics: Dynamics | None = None) -> SpikingNetwork:
        """A view in which ``change(name, neuron)`` takes the place of every layer of neurons."""
        paths = {f"body.{name}".rstrip("."): name for name in self.neurons}

        def swap(name: str, module: nn.Module) -> nn.Module | None:
            if name not in paths:
                return None
            assert isinstance(module, Neuron)
            return change(paths[name], module).train(module.training)

        view = rewire(self, swap)
        assert isinstance(view, SpikingNetwork)
        view.dynamics = dynamics or self.dynamics
        return view

    def firing(self, fire: Fire, dynamics: Dynamics | None = None) -> SpikingNetwork:
        """A view whose neurons fire by another function of the same forward pass: what a gradient path needs."""
        dynamics = dynamics or self.dynamics
        return self.rewired(lambda _, neuron: neuron.changed(dynamics=dynamics, fire=fire), dynamics)

    def replace(self, thresholds: Mapping[str, float | Tensor] | None = None, **dynamics: Any) -> SpikingNetwork:
        """A view over the same weights with other thresholds (by module path), trainable ones, or other fields of `Dynamics`.

        Raises:
            ValueError: an unknown path, or a threshold that is not finite.
            TypeError: an unknown field of `Dynamics`.

        >>> net = SpikingNetwork(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)))
        >>> net.replace({"0": 0.5}, timesteps=3).steps(torch.ones(1, 1, 2, 2)).shape
        torch.Size([3, 1, 2])
        """
        changed = replace(self.dynamics, **dynamics)
        thresholds = dict(thresholds or {})
        for name, value in thresholds.items():
            if name not in self.neurons:
                raise ValueError(f"no neurons at {name!r}: {nearest(name, self.neurons)}")
            if bad := int((~torch.as_tensor(value).isfinite()).sum()):
                raise ValueError(f"the threshold of {name!r} must be finite, and {bad} of its values are not: give numbers")

        def change(name: str, neuron: Neuron) -> Neuron:
            threshold = thresholds.get(name, neuron.threshold)
            if not isinstance(threshold, nn.Parameter):
                threshold = nn.Parameter(_like(self.body, threshold))
            return neuron.changed(threshold=threshold, dynamics=changed)

        return self.rewired(change, changed)


def _like(body: nn.Module, value: float | Tensor) -> Tensor:
    """The value as a tensor on the device and in the type of the body's parameters."""
    reference = next(body.parameters(), torch.empty(0))
    return torch.as_tensor(value).detach().clone().to(reference.device, reference.dtype)


def spiking_only(path: object, net: nn.Module) -> SpikingNetwork:
    """The network, for a gradient path that goes through neurons.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(net, SpikingNetwork):
        raise ValueError(f"{path} needs a SpikingNetwork, not {type(net).__name__}; the path of any other is Plain()")
    return net
