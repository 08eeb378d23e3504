"""Neurons as machine code: their equations, compiled where a layer is large enough to repay it.

`spikes`, `membrane` and `gradients` return None where the caller should compute step by step instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class _Fold:
    """A layer as a compiler likes it: dimensions in the order of memory, and those that share all tensors as one."""

    order: tuple[int, ...]
    sizes: tuple[int, ...]
    folded: tuple[int, ...]
    tensors: dict[str, Tensor]

    @staticmethod
    def of(current: Tensor, tensors: Tensors) -> _Fold:
        shape, strides = current.shape[1:], current.stride()[1:]
        order = sorted(range(len(shape)), key=lambda d: -strides[d])
        whole = {name: x.reshape((1,) * (len(shape) - x.dim()) + x.shape).permute(order) for name, x in tensors.items()}
        folded: list[int] = []
        shared: list[bool] = []
        places: list[int] = []
        for place, d in enumerate(order):
            alike = all(x.shape[place] == 1 for x in whole.values())
            if folded and shared[-1] and alike:
                folded[-1] *= shape[d]
            else:
                folded.append(shape[d])
                shared.append(alike)
                places.append(place)
        own = {name: x.reshape([x.shape[place] for place in places]) for name, x in whole.items()}
        return _Fold(tuple(order), tuple(shape[d] for d in order), tuple(folded), own)

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, *(d + 1 for d in self.order)).reshape(len(x), *self.folded)

    def back(self, x: Tensor) -> Tensor:
        places = sorted(range(len(self.order)), key=lambda i: self.order[i])
        return x.reshape(len(x), *self.sizes).permute(0, *(i + 1 for i in places))


def _worthwhile(current: Tensor, tensors: Tensors) -> bool:
    return (
        current.numel() >= machine_code.SMALLEST
        and len(current) <= LONGEST
        and all(x.dtype == current.dtype and x.dim() < current.dim() for x in tensors.values())
        and machine_code.compiles(current.device.type)
    )


def _run(
    equations: Callable[..., tuple[Tensor, ...]], current: Tensor, tensors: Tensors, dynamics: Dynamics, *more: Tensor
) -> tuple[Tensor, ...] | None:
    """What the equations give, all of it laid out like the current; None where machine code is not worth it."""
    if not _worthwhile(current, tensors):
        return None
    fold = _Fold.of(current, tensors)
    kind = (len(current), len(fold.folded), current.stride(0) == 0, current.dtype)
    alike, fluid = _forms(dynamics)
    code = machine_code.code_for(equations, current.device, type(dynamics.surrogate), alike, *kind)
    own = {name: machine_code.bare(x) for name, x in fold.tensors.items()}
    with torch.no_grad():
        found = code(machine_code.bare(fold(current)), own, fluid, *(machine_code.bare(fold(x)) for x in more))
    return tuple(fold.back(x) for x in found)


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
