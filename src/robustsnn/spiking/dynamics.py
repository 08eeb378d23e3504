"""Dynamics of neurons in time, and their reference implementation `unrolled`: autograd through every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from robustsnn.spiking.neurons import LIF, Course, Derivative, Neuron, Tensors
from robustsnn.spiking.surrogate import SurrogateDerivative, Triangle


@dataclass(frozen=True)
class Dynamics:
    """How the neurons of a network run in time.

    Arguments:
        timesteps: number of time steps, ``T >= 1``.
        neuron: neuron model.
        surrogate: surrogate derivative of a spike.
        detach_reset: whether to block the gradient through the reset.
        synchronous: every layer waits for the T steps of the layer before it and receives their mean current at every step.
            Logits then take T steps per layer, and `LIF(reset="subtract", start=0.5)` fires exactly as `QCFS` with T levels.
        relative_surrogate: whether the threshold is the surrogate's unit: the derivative is ``g(u / threshold) / threshold``.

    Raises:
        ValueError: a value is out of range.
    """

    timesteps: int = 8
    neuron: Neuron = LIF()
    surrogate: SurrogateDerivative = Triangle(1.0)
    detach_reset: bool = False
    synchronous: bool = False
    relative_surrogate: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.timesteps, bool) or not isinstance(self.timesteps, int) or self.timesteps < 1:
            raise ValueError(f"timesteps must be a whole number of at least 1, not {self.timesteps!r}")
        if not isinstance(self.neuron, Neuron):
            raise ValueError(f"neuron must be a neuron model such as LIF(leak=0.9), not {self.neuron!r}")
        if not callable(self.surrogate):
            raise ValueError(f"surrogate must be a surrogate derivative such as Triangle(1.0), not {self.surrogate!r}")

    def derivative(self, tensors: Tensors, rank: int) -> Derivative:
        """Return the surrogate derivative of a layer with these tensors; its neurons ``[N, ...]`` have ``rank`` dimensions."""
        if not self.relative_surrogate:
            return lambda _, u: self.surrogate(u)
        threshold = tensors["threshold"].detach()
        unit = threshold.abs().clamp_min(torch.finfo(threshold.dtype).tiny)

        def derivative(_: int, u: Tensor) -> Tensor:
            each = unit.reshape((*unit.shape, *[1] * (u.dim() - rank)))  # broadcasts over several thresholds
            return self.surrogate(u / each) / each

        return derivative


class Fire(Protocol):
    """``fire(current [T,N,...], threshold, dynamics, **trained) -> spikes [T,N,...]``: the forward pass of `unrolled` with any
    gradient. ``trained`` holds the neuron's other trained tensors by name."""

    def __call__(self, current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor: ...


def walk(current: Tensor, threshold: Tensor | float, dynamics: Dynamics, **trained: Tensor) -> Course:
    """Return the potentials before the reset and the spikes of every step, each ``[N, ...]``, differentiable by autograd."""
    tensors = {"threshold": torch.as_tensor(threshold, dtype=current.dtype, device=current.device), **trained}
    return dynamics.neuron.walk(current, tensors, dynamics.derivative(tensors, current.dim() - 1), dynamics.detach_reset)


def unrolled(current: Tensor, threshold: Tensor | float, dynamics: Dynamics, **trained: Tensor) -> Tensor:
    """Return the spikes of a neuron layer, differentiable by autograd through every step.

    Arguments:
        current: ``[T, N, ...]``, like the spikes; its T may differ from that of the dynamics.
        threshold: a scalar or a tensor that broadcasts to ``[N, ...]``.
        trained: the neuron's other trained tensors, such as ``leak``.

    >>> unrolled(torch.tensor([[0.6], [0.6], [0.6]]), 1.0, Dynamics()).flatten()
    tensor([0., 1., 0.])
    """
    return torch.stack(walk(current, threshold, dynamics, **trained).spikes)
