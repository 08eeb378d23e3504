"""Machine code: functions of tensors compiled by ``torch.compile`` for CPU or GPU.

Compiling takes seconds and a compiler. It is done where a tensor is large enough to repay it; torch keeps the result on disk
for later processes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

SMALLEST = 2**16
"""Neurons times steps from which on machine code repays its compilation."""

UNFUSED: dict[str, str | int | bool | Callable[..., Any]] = {"emulate_precision_casts": True}
"""Of a GPU's compiler, which else makes one operation of a product and a sum: rounded once, not as step by step."""

log = logging.getLogger(__name__)


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Biased variances and means ``[N, C]`` of ``rows [N, M, C]``, step by step where machine code is not worth it."""
    if rows.numel() < SMALLEST or not compiles(rows.device.type):
        return _moments(rows)
    return code_for(_moments, rows.device, rows.dtype)(bare(rows))  # type: ignore[no-any-return]


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    variances, means = torch.var_mean(rows, 1, correction=0)
    return variances, means


def pointwise(equations: Callable[..., Any], weights: Tensor, *alike: Tensor) -> Any:
    """``equations(weights, *alike)``, whose results are a few numbers, or as many as each of the tensors has."""
    dimensions = order(weights, *alike)
    if dimensions is None:
        return None
    rows = [bare(x.permute(dimensions).reshape(-1)) for x in alike]
    with torch.no_grad():
        results = code_for(equations, weights.device, weights.dtype)(bare(weights), *rows)

    def back(x: Tensor) -> Tensor:
        return x.as_strided(alike[0].shape, alike[0].stride()) if len(x) == len(rows[0]) else x

    return back(results) if isinstance(results, Tensor) else tuple(map(back, results))


def order(weights: Tensor, *alike: Tensor) -> tuple[int, ...] | None:
    """Dimensions as they lie in memory; None where tensors differ in that, have gaps, or do not repay machine code."""
    first, strides = alike[0], alike[0].stride()
    dimensions = tuple(sorted(range(first.dim()), key=lambda d: -strides[d]))
    same = all((x.shape, x.stride(), x.dtype) == (first.shape, strides, weights.dtype) for x in alike)
    worthwhile = same and first.numel() >= SMALLEST and first.permute(dimensions).is_contiguous()
    return dimensions if worthwhile and compiles(first.device.type) else None


@cache
def compiles(device: str) -> bool:
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


@cache
def code_for(equations: Callable[..., Any], device: torch.device, *kind: object) -> Callable[..., Any]:
    """The equations compiled for one kind of layer. Torch limits how often a function is compiled: each kind has its own."""
    log.info("compiling %s for %s on %s", equations.__name__, kind, device)
    own = FunctionType(equations.__code__.replace(), equations.__globals__, equations.__name__, None, equations.__closure__)
    return torch.compile(own, dynamic=True, options=None if device.type == "cpu" else UNFUSED)


def bare(x: Tensor) -> Tensor:
    """The values without history: torch compiles anew for what requires a gradient, and for what is a view."""
    return x.data
