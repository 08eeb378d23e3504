"""Compiled neurons: machine code for the equations of layers that are large enough to repay compilation.

`spikes`, `membrane` and `gradients` return None if the caller should compute step by step instead.
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
from robustsnn.spiking.neurons import Derivative, Tensors
from robustsnn.spiking.surrogate import SURROGATES, SurrogateDerivative, Triangle

Shaped = Callable[[Tensor, Tensor], Tensor]
"""``derivative(u, shape)``: a surrogate derivative whose shape differs by neuron and step; both ``[N, ...]``."""

LONGEST = 64
"""Largest number of time steps to unroll; compilation time grows with it."""


def spikes(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> Tensor | None:
    """Return the spikes ``[T, N, ...]``."""
    found = _run(_spikes, current, tensors, _forward(dynamics))
    return found[0] if found else None


def membrane(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, Tensor] | None:
    """Return the potentials before the reset and the spikes, each ``[T, N, ...]``."""
    found = _run(_membrane, current, tensors, _forward(dynamics))
    return (found[0], found[1]) if found else None


def gradients(grad: Tensor, current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, dict[str, Tensor]] | None:
    """Return the hand-written gradients of the current ``[T, N, ...]`` and of the tensors, per neuron ``[N, ...]``."""
    if not dynamics.neuron.by_hand or type(dynamics.surrogate) not in SURROGATES.values():
        return None
    found = _run(_backward, current, tensors, dynamics, grad)
    return (found[0], {name: each[0] for name, each in zip(tensors, found[1:], strict=True)}) if found else None


def along(
    grad: Tensor, current: Tensor, tensors: Tensors, dynamics: Dynamics, derivative: Shaped, shape: Tensor
) -> Tensor | None:
    """Return the hand-written gradient of the current ``[T, N, ...]`` with the surrogate ``derivative(u, shape[t])``."""
    if not dynamics.neuron.by_hand:
        return None
    alike = replace(_forward(dynamics), detach_reset=dynamics.detach_reset)
    found = _run(_shaped_by(derivative), current, tensors, alike, grad, shape.expand_as(current))
    return found[0] if found else None


def _spikes(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor]:
    return (_membrane(current, tensors, dynamics)[1],)


def _membrane(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    course = dynamics.neuron.walk(current, tensors)
    return torch.stack(course.potentials), torch.stack(course.spikes)


def _backward(current: Tensor, tensors: Tensors, dynamics: Dynamics, grad: Tensor) -> tuple[Tensor, ...]:
    """Return the gradient of the current, then that of each tensor with a leading dimension of 1."""
    first, found = _through_time(current, tensors, dynamics, grad, dynamics.derivative(tensors, current.dim() - 1))
    return first, *(found[name][None] for name in tensors)


@cache
def _shaped_by(derivative: Shaped) -> Callable[..., tuple[Tensor]]:
    """Return the equations of the gradient of the current for such a surrogate."""

    def back(current: Tensor, tensors: Tensors, dynamics: Dynamics, grad: Tensor, shape: Tensor) -> tuple[Tensor]:
        def of(t: int, u: Tensor) -> Tensor:
            return derivative(u, shape[t])

        return (_through_time(current, tensors, dynamics, grad, of)[0],)

    return back


def _through_time(
    current: Tensor, tensors: Tensors, dynamics: Dynamics, grad: Tensor, derivative: Derivative
) -> tuple[Tensor, dict[str, Tensor]]:
    course = dynamics.neuron.walk(current, tensors)

    def seen() -> tuple[list[Tensor], list[Tensor]]:
        return course.potentials, course.spikes

    return dynamics.neuron.gradients(grad, current, tensors, derivative, dynamics.detach_reset, seen)


def _worthwhile(current: Tensor, tensors: Tensors) -> bool:
    return (
        len(current) <= LONGEST
        and all(x.dtype == current.dtype and x.dim() < current.dim() for x in tensors.values())
        and machine_code.repays(current, current.shape[:2].numel())
    )


def _run(
    equations: Callable[..., tuple[Tensor, ...]], current: Tensor, tensors: Tensors, dynamics: Dynamics, *more: Tensor
) -> tuple[Tensor, ...] | None:
    """Return the results of the equations in the layout of the current, or None if machine code does not pay off."""
    if not _worthwhile(current, tensors):
        return None
    neurons, ways = current.shape[1:], machine_code.in_memory(current, leading=1)
    places = [ways.index(d) for d in range(len(ways))]

    def row(x: Tensor) -> Tensor:
        """Flatten ``[T, N, ...]`` to one dimension of neurons in memory order, which compiles best."""
        return machine_code.bare(x.permute(ways).reshape(len(x), -1))

    own = {name: x.view(()) if x.numel() == 1 else row(x.expand(1, *neurons))[0] for name, x in tensors.items()}
    kind = (len(current), tuple(x.dim() for x in own.values()), current.stride(0) == 0, current.dtype)
    alike, fluid = _forms(dynamics)
    code = machine_code.code_for(equations, current.device, type(dynamics.surrogate), alike, *kind)
    with torch.no_grad():
        found = code(row(current), {name: machine_code.bare(x) for name, x in own.items()}, fluid, *map(row, more))
    return tuple(x.reshape(len(x), *(current.shape[d] for d in ways[1:])).permute(places) for x in found)


@cache
def _forward(dynamics: Dynamics) -> Dynamics:
    """Return the dynamics without the fields that only gradients use."""
    return replace(dynamics, surrogate=Triangle(), detach_reset=False, relative_surrogate=False)


@cache
def _forms(dynamics: Dynamics) -> tuple[Dynamics, Dynamics]:
    """Return the dynamics as the cache key of compiled code and as its argument. The key leaves out initial values and
    surrogate parameters; the argument holds the parameters as tensors, so that one compilation serves all widths."""
    anywhere: Any = replace(dynamics.neuron, **dict.fromkeys(dynamics.neuron.trained, 1.0))  # type: ignore[type-var]
    surrogate: SurrogateDerivative = object.__new__(type(dynamics.surrogate))
    for name, number in vars(dynamics.surrogate).items():
        object.__setattr__(surrogate, name, torch.tensor(number, dtype=torch.float64))
    return tuple(replace(dynamics, neuron=anywhere, surrogate=each) for each in (Triangle(), surrogate))  # type: ignore[return-value]
