"""Neurons as machine code: their equations, compiled where a layer is large enough to repay it.

`spikes`, `membrane` and `gradients` return None where the caller should compute step by step instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from robustsnn.compute import machine_code
from robustsnn.spiking.dynamics import Dynamics
from robustsnn.spiking.neurons import Tensors
from robustsnn.spiking.surrogate import SURROGATES, SurrogateDerivative, Triangle

LONGEST = 64
"""Time steps that are unrolled at most: the time to compile grows with them."""


def spikes(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> Tensor | None:
    """Spikes ``[T, N, ...]``."""
    found = _run(_spikes, current, tensors, _forward(dynamics))
    return found[0] if found else None


def membrane(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, Tensor] | None:
    """Potentials before the reset, and spikes, ``[T, N, ...]``."""
    found = _run(_membrane, current, tensors, _forward(dynamics))
    return (found[0], found[1]) if found else None


def gradients(grad: Tensor, current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, dict[str, Tensor]] | None:
    """Gradients of the current ``[T, N, ...]`` and of the tensors at every neuron ``[N, ...]``, where written by hand."""
    if not dynamics.neuron.by_hand or type(dynamics.surrogate) not in SURROGATES.values():
        return None
    found = _run(_backward, current, tensors, dynamics, grad)
    return (found[0], {name: each[0] for name, each in zip(tensors, found[1:], strict=True)}) if found else None


def _spikes(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor]:
    return (_membrane(current, tensors, dynamics)[1],)


def _membrane(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    course = dynamics.neuron.walk(current, tensors)
    return torch.stack(course.potentials), torch.stack(course.spikes)


def _backward(current: Tensor, tensors: Tensors, dynamics: Dynamics, grad: Tensor) -> tuple[Tensor, ...]:
    """The gradient of the current and, each with a first dimension of 1, those of the tensors in their order."""
    course = dynamics.neuron.walk(current, tensors)

    def derivative(t: int, u: Tensor) -> Tensor:
        return dynamics.surrogate(u)

    def seen() -> tuple[list[Tensor], list[Tensor]]:
        return course.potentials, course.spikes

    first, found = dynamics.neuron.gradients(grad, current, tensors, derivative, dynamics.detach_reset, seen)
    return first, *(found[name][None] for name in tensors)


def _worthwhile(current: Tensor, tensors: Tensors) -> bool:
    return (
        len(current) <= LONGEST
        and all(x.dtype == current.dtype and x.dim() < current.dim() for x in tensors.values())
        and machine_code.repays(current, current.shape[:2].numel())
    )


def _run(
    equations: Callable[..., tuple[Tensor, ...]], current: Tensor, tensors: Tensors, dynamics: Dynamics, *more: Tensor
) -> tuple[Tensor, ...] | None:
    """What the equations give, laid out like the current; None where machine code is not worth it."""
    if not _worthwhile(current, tensors):
        return None
    neurons, strides = current.shape[1:], current.stride()[1:]
    order = sorted(range(len(neurons)), key=lambda d: -strides[d])
    ways, places = [0, *(d + 1 for d in order)], [0, *(order.index(d) + 1 for d in range(len(order)))]

    def row(x: Tensor) -> Tensor:
        """The neurons ``[T, N, ...]`` as a compiler likes them: one dimension, in the order of memory."""
        return machine_code.bare(x.permute(ways).reshape(len(x), -1))

    own = {name: x.view(()) if x.numel() == 1 else row(x.expand(1, *neurons))[0] for name, x in tensors.items()}
    kind = (len(current), tuple(x.dim() for x in own.values()), current.stride(0) == 0, current.dtype)
    alike, fluid = _forms(dynamics)
    code = machine_code.code_for(equations, current.device, type(dynamics.surrogate), alike, *kind)
    with torch.no_grad():
        found = code(row(current), {name: machine_code.bare(x) for name, x in own.items()}, fluid, *map(row, more))
    return tuple(x.reshape(len(x), *(neurons[d] for d in order)).permute(places) for x in found)


@cache
def _forward(dynamics: Dynamics) -> Dynamics:
    """The dynamics without what only a gradient needs."""
    return replace(dynamics, surrogate=Triangle(), detach_reset=False)


@cache
def _forms(dynamics: Dynamics) -> tuple[Dynamics, Dynamics]:
    """The dynamics as one machine code stands for them, whatever trained tensors begin at and the surrogate is; and as it is
    given them, the numbers of the surrogate as tensors, so that it serves all widths."""
    anywhere: Any = replace(dynamics.neuron, **dict.fromkeys(dynamics.neuron.trained, 1.0))  # type: ignore[type-var]
    surrogate: SurrogateDerivative = object.__new__(type(dynamics.surrogate))
    for name, number in vars(dynamics.surrogate).items():
        object.__setattr__(surrogate, name, torch.tensor(number, dtype=torch.float64))
    return tuple(replace(dynamics, neuron=anywhere, surrogate=each) for each in (Triangle(), surrogate))  # type: ignore[return-value]
