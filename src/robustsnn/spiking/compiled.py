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
    if not _worthwhile(current, tensors):
        return None
    fold = _Fold.of(current, tensors)
    return fold.back(_run(_spikes, fold, fold(current), _forward(dynamics)))


def membrane(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, Tensor] | None:
    """Potentials before the reset, and spikes, ``[T, N, ...]``."""
    if not _worthwhile(current, tensors):
        return None
    fold = _Fold.of(current, tensors)
    potentials, fired = _run(_membrane, fold, fold(current), _forward(dynamics))
    return fold.back(potentials), fold.back(fired)


def gradients(grad: Tensor, current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, dict[str, Tensor]] | None:
    """Gradients of the current ``[T, N, ...]`` and of the tensors at every neuron ``[N, ...]``, where written by hand."""
    known = dynamics.neuron.by_hand and type(dynamics.surrogate) in SURROGATES.values()
    if not known or not _worthwhile(current, tensors):
        return None
    fold = _Fold.of(current, tensors)
    of_current, of_tensors = _run(_backward, fold, fold(current), dynamics, fold(grad))
    return fold.back(of_current), {name: fold.back(each[None])[0] for name, each in of_tensors.items()}


def _spikes(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> Tensor:
    return _membrane(current, tensors, dynamics)[1]


def _membrane(current: Tensor, tensors: Tensors, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    course = dynamics.neuron.walk(current, tensors, lambda _, u: u)
    return torch.stack(course.potentials), torch.stack(course.spikes)


def _backward(current: Tensor, tensors: Tensors, dynamics: Dynamics, grad: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    course = dynamics.neuron.walk(current, tensors, lambda _, u: u)

    def derivative(t: int, u: Tensor) -> Tensor:
        return dynamics.surrogate(u)

    def seen() -> tuple[list[Tensor], list[Tensor]]:
        return course.potentials, course.spikes

    return dynamics.neuron.gradients(grad, current, tensors, derivative, dynamics.detach_reset, seen)


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


def _run(equations: Callable[..., Any], fold: _Fold, current: Tensor, dynamics: Dynamics, *more: Tensor) -> Any:
    kind = (len(current), len(fold.folded), current.stride(0) == 0, current.dtype)
    dynamics = _anywhere(dynamics)
    code = machine_code.code_for(equations, current.device, type(dynamics.surrogate), _any_width(dynamics), *kind)
    tensors = {name: machine_code.bare(x) for name, x in fold.tensors.items()}
    with torch.no_grad():
        return code(machine_code.bare(current), tensors, _fluid(dynamics), *map(machine_code.bare, more))


_ANY = Triangle()


@cache
def _forward(dynamics: Dynamics) -> Dynamics:
    """The dynamics without what only a gradient needs."""
    return replace(dynamics, surrogate=_ANY, detach_reset=False)


@cache
def _anywhere(dynamics: Dynamics) -> Dynamics:
    """The dynamics without what trained tensors begin at, so that these share one machine code."""
    return replace(dynamics, neuron=replace(dynamics.neuron, **dict.fromkeys(dynamics.neuron.trained, 1.0)))  # type: ignore[type-var]


@cache
def _any_width(dynamics: Dynamics) -> Dynamics:
    """The dynamics without their surrogate."""
    return replace(dynamics, surrogate=_ANY)


@cache
def _fluid(dynamics: Dynamics) -> Dynamics:
    """The dynamics with the numbers of its surrogate as tensors, so that all its widths share one machine code."""
    surrogate: SurrogateDerivative = object.__new__(type(dynamics.surrogate))
    for name, number in vars(dynamics.surrogate).items():
        object.__setattr__(surrogate, name, torch.tensor(number, dtype=torch.float64))
    return replace(dynamics, surrogate=surrogate)
