"""The neuron as machine code: the equations of `neuron`, compiled by ``torch.compile`` for CPU or GPU.

Compiling takes seconds and a compiler. It is done where a layer is large enough to repay it; torch keeps the result on disk
for later processes. `spikes`, `membrane`, `gradients` and `pointwise` return None where the caller should compute step by step
instead.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from robustsnn.spiking import neuron
from robustsnn.spiking.neuron import Dynamics, recursion, walk
from robustsnn.spiking.surrogate import SURROGATES, SurrogateDerivative, Triangle

SMALLEST = 2**16
"""Neurons times steps from which on machine code repays its compilation."""

LONGEST = 64
"""Time steps that are unrolled at most: the time to compile grows with them."""

UNFUSED: dict[str, str | int | bool | Callable[..., Any]] = {"emulate_precision_casts": True}
"""Of a GPU's compiler, which else makes one operation of a product and a sum: rounded once, not as step by step."""

log = logging.getLogger(__name__)


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


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Biased variances and means ``[N, C]`` of ``rows [N, M, C]``, step by step where machine code is not worth it."""
    if rows.numel() < SMALLEST or not _compiles(rows.device.type):
        return _moments(rows)
    return _machine_code(_moments, rows.device, rows.dtype)(_bare(rows))  # type: ignore[no-any-return]


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    variances, means = torch.var_mean(rows, 1, correction=0)
    return variances, means


def pointwise(equations: Callable[..., Any], weights: Tensor, *alike: Tensor) -> Any:
    """``equations(weights, *alike)``, whose results are a few numbers, or as many as each of the tensors has."""
    dimensions = order(weights, *alike)
    if dimensions is None:
        return None
    rows = [_bare(x.permute(dimensions).reshape(-1)) for x in alike]
    with torch.no_grad():
        results = _machine_code(equations, weights.device, weights.dtype)(_bare(weights), *rows)

    def back(x: Tensor) -> Tensor:
        return x.as_strided(alike[0].shape, alike[0].stride()) if len(x) == len(rows[0]) else x

    return back(results) if isinstance(results, Tensor) else tuple(map(back, results))


def order(weights: Tensor, *alike: Tensor) -> tuple[int, ...] | None:
    """Dimensions as they lie in memory; None where tensors differ in that, have gaps, or do not repay machine code."""
    first, strides = alike[0], alike[0].stride()
    dimensions = tuple(sorted(range(first.dim()), key=lambda d: -strides[d]))
    same = all((x.shape, x.stride(), x.dtype) == (first.shape, strides, weights.dtype) for x in alike)
    worthwhile = same and first.numel() >= SMALLEST and first.permute(dimensions).is_contiguous()
    return dimensions if worthwhile and _compiles(first.device.type) else None


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
        current.numel() >= SMALLEST
        and len(current) <= LONGEST
        and not isinstance(dynamics.leak, Tensor)
        and current.dtype == threshold.dtype
        and threshold.dim() < current.dim()
        and _compiles(current.device.type)
    )


@cache
def _compiles(device: str) -> bool:
    """Whether there is a compiler for this kind of device; asked once."""
    if why := trouble(device):
        warnings.warn(f"neurons run step by step, several times slower: compiling for {device} failed ({why})", stacklevel=2)
    return not why


def trouble(device: str) -> str:
    """Why nothing can be compiled for this kind of device, ``cpu`` or ``cuda``; empty where it works."""
    try:
        torch.compile(_probe, fullgraph=True)(torch.zeros(2, device=device))
    except Exception as error:  # whatever it is, the answer is no
        lines = [line for line in str(error).strip().splitlines() if not line.endswith("raised:")]
        return (lines or [type(error).__name__])[0]
    return ""


def _probe(x: Tensor) -> Tensor:
    return x + 1


def _run(
    equations: Callable[..., Any], fold: _Fold, current: Tensor, threshold: Tensor, dynamics: Dynamics, *more: Tensor
) -> Any:
    kind = (len(current), len(fold.folded), current.stride(0) == 0, current.dtype)
    code = _machine_code(equations, current.device, type(dynamics.surrogate), _any_width(dynamics), *kind)
    with torch.no_grad():
        return code(_bare(current), _bare(threshold), _fluid(dynamics), *map(_bare, more))


def _bare(x: Tensor) -> Tensor:
    """The values without history: torch compiles anew for what requires a gradient, and for what is a view."""
    return x.data


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
def _machine_code(equations: Callable[..., Any], device: torch.device, *kind: object) -> Callable[..., Any]:
    """The equations compiled for one kind of layer. Torch limits how often a function is compiled: each kind has its own."""
    log.info("compiling %s for %s on %s", equations.__name__, kind, device)
    own = FunctionType(equations.__code__.replace(), equations.__globals__, equations.__name__, None, equations.__closure__)
    return torch.compile(own, dynamic=True, options=None if device.type == "cpu" else UNFUSED)


@cache
def _fluid(dynamics: Dynamics) -> Dynamics:
    """The dynamics with the numbers of its surrogate as tensors, so that all its widths share one machine code."""
    surrogate: SurrogateDerivative = object.__new__(type(dynamics.surrogate))
    for name, number in vars(dynamics.surrogate).items():
        object.__setattr__(surrogate, name, torch.tensor(number, dtype=torch.float64))
    return replace(dynamics, surrogate=surrogate)
