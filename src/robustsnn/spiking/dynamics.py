"""How a layer of neurons runs in time, and its definition: `unrolled`, by autograd through every step of its neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from robustsnn.spiking.neurons import LIF, Course, Neuron
from robustsnn.spiking.surrogate import SurrogateDerivative, Triangle


@dataclass(frozen=True)
class Dynamics:
    """How neurons run in time.

    Arguments:
        timesteps: ``T >= 1``.
        neuron: what they are.
        surrogate: the derivative that stands for that of a spike.
        detach_reset: no gradient through the reset.
        synchronous: every layer waits for the T steps of the one before, then spends their mean current at every step. Logits
            take T steps per layer. `LIF(reset="subtract", start=0.5)` then fires exactly as `QCFS` of T levels says.

    Raises:
        ValueError: a value outside its range.
    """

    timesteps: int = 8
    neuron: Neuron = LIF()
    surrogate: SurrogateDerivative = Triangle(1.0)
    detach_reset: bool = False
    synchronous: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.timesteps, bool) or not isinstance(self.timesteps, int) or self.timesteps < 1:
            raise ValueError(f"timesteps must be a whole number of at least 1, not {self.timesteps!r}")
        if not isinstance(self.neuron, Neuron):
            raise ValueError(f"neuron must be a value such as LIF(leak=0.9), not {self.neuron!r}")
        if not callable(self.surrogate):
            raise ValueError(f"surrogate must be a value such as Triangle(1.0), not {self.surrogate!r}")


class Fire(Protocol):
    """``fire(current [T,N,...], threshold, dynamics, **trained) -> spikes [T,N,...]``: the forward pass of `unrolled`, with a
    gradient of its own. ``trained`` are the tensors that the neuron trains besides its threshold, by name."""

    def __call__(self, current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor: ...


def walk(current: Tensor, threshold: Tensor | float, dynamics: Dynamics, **trained: Tensor) -> Course:
    """Potentials before the reset, and spikes, step by step, ``[N, ...]`` each, by autograd."""
    tensors = {"threshold": torch.as_tensor(threshold, dtype=current.dtype, device=current.device), **trained}
    return dynamics.neuron.walk(current, tensors, lambda _, u: dynamics.surrogate(u), dynamics.detach_reset)


def unrolled(current: Tensor, threshold: Tensor | float, dynamics: Dynamics, **trained: Tensor) -> Tensor:
    """Spikes of the neurons, by autograd through every step.

    Arguments:
        current: ``[T, N, ...]``, as are the spikes; T is its own, whatever the dynamics say.
        threshold: a scalar, or anything that broadcasts to ``[N, ...]``.
        trained: what the neuron trains besides, such as ``leak``.

    >>> unrolled(torch.tensor([[0.6], [0.6], [0.6]]), 1.0, Dynamics()).flatten()
    tensor([0., 1., 0.])
    """
    return torch.stack(walk(current, threshold, dynamics, **trained).spikes)
