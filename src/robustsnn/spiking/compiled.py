"""The neuron as machine code: the equations of `neuron`, compiled where a layer is large enough to repay it.

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
from robustsnn.spiking import neuron
from robustsnn.spiking.neuron import Dynamics, recursion, walk
from robustsnn.spiking.surrogate import SURROGATES, SurrogateDerivative, Triangle

LONGEST = 64
"""Time steps that are unrolled at most: the time to compile grows with them."""


def spikes(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor | None:
    """Spikes ``[T, N, ...]`` of `lif`."""
    if not _worthwhile(current, threshold, dynamics):
        return None
    fold = _Fold.of(current, threshold)
    return fold.back(_run(neuron.lif, fold, fold(current), fold.threshold, _forward(dynamics)))


def membrane(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> tuple[Tensor, Tensor] | None:
    """Potentials and spikes of `membrane`, ``[T, N, ...]``."""
    if not _worthwhile(current, threshold, dynamics):
        return None
    fold = _Fold.of(current, threshold)
    v_pre, fired = _run(neuron.membrane, fold, fold(current), fold.threshold, _forward(dynamics))
    return fold.back(v_pre), fold.back(fired)


def gradients(grad: Tensor, current: Tensor, threshold: Tensor, dynamics: Dynamics) -> tuple[Tensor, Tensor] | None:
    """Gradients of the current ``[T, N, ...]`` and of the threshold at every neuron ``[N, ...]``."""
    if not _worthwhile(current, threshold, dynamics) or type(dynamics.surrogate) not in SURROGATES.values():
        return None
    fold = _Fold.of(current, threshold)
    current_, threshold_ = _run(_backward, fold, fold(current), fold.threshold, dynamics, fold(grad))
    return fold.back(current_), fold.back(threshold_[None])[0]


def _backward(current: Tensor, threshold: Tensor, dynamics: Dynamics, grad: Tensor) -> tuple[Tensor, Tensor]:
    v_pre, fired = walk(current, threshold, dynamics)
    return recursion(grad, v_pre, fired, threshold, dynamics, lambda _, u: dynamics.surrogate(u))


@dataclass(frozen=True)
class _Fold:
    """A layer as a compiler likes it: dimensions in the order of memory, and those that share a threshold as one."""

    order: tuple[int, ...]
    sizes: tuple[int, ...]
    folded: tuple[int, ...]
    threshold: Tensor

    @staticmethod
    def of(current: Tensor, threshold: Tensor) -> _Fold:
        shape, strides = current.shape[1:], current.stride()[1:]
        threshold = threshold.reshape((1,) * (len(shape) - threshold.dim()) + threshold.shape)
        order = sorted(range(len(shape)), key=lambda d: -strides[d])
        folded: list[int] = []
        thresholds: list[int] = []
        for d in order:
            if folded and thresholds[-1] == threshold.shape[d] == 1:
                folded[-1] *= shape[d]
            else:
                folded.append(shape[d])
                thresholds.append(threshold.shape[d])
        return _Fold(tuple(order), tuple(shape[d] for d in order), tuple(folded), threshold.permute(order).reshape(thresholds))

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, *(d + 1 for d in self.order)).reshape(len(x), *self.folded)

    def back(self, x: Tensor) -> Tensor:
        places = sorted(range(len(self.order)), key=lambda i: self.order[i])
        return x.reshape(len(x), *self.sizes).permute(0, *(i + 1 for i in places))


def _worthwhile(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> bool:
    return (
        current.numel() >= machine_code.SMALLEST
        and len(current) <= LONGEST
        and not isinstance(dynamics.leak, Tensor)
        and current.dtype == threshold.dtype
        and threshold.dim() < current.dim()
        and machine_code.compiles(current.device.type)
    )


def _run(
    equations: Callable[..., Any], fold: _Fold, current: Tensor, threshold: Tensor, dynamics: Dynamics, *more: Tensor
) -> Any:
    kind = (len(current), len(fold.folded), current.stride(0) == 0, current.dtype)
    code = machine_code.code_for(equations, current.device, type(dynamics.surrogate), _any_width(dynamics), *kind)
    with torch.no_grad():
        return code(machine_code.bare(current), machine_code.bare(threshold), _fluid(dynamics), *map(machine_code.bare, more))


_ANY = Triangle()


@cache
def _forward(dynamics: Dynamics) -> Dynamics:
    """The dynamics without what only a gradient needs."""
    return replace(dynamics, surrogate=_ANY, detach_reset=False)


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
