"""Machine code: functions of tensors compiled by ``torch.compile`` for CPU or GPU.

Compilation takes seconds and needs a compiler, so only large tensors use it. Torch caches the result on disk.
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

SMALLEST, EACH = 2**16, 2**11
"""Values in total, and per sample and time step, from which machine code repays its compilation, which takes 10 to 40 seconds
for a network. Smaller tensors run step by step."""

UNFUSED: dict[str, str | int | bool | Callable[..., Any]] = {"emulate_precision_casts": True}
"""Compiler options for a GPU: do not fuse a product and a sum into one operation, which would round differently."""

log = logging.getLogger(__name__)


def repays(x: Tensor, samples: int) -> bool:
    """Return whether compiling pays off for a tensor of ``samples`` samples times steps, and its device has a compiler."""
    return x.numel() >= max(SMALLEST, EACH * samples) and compiles(x.device.type)


@cache
def compiles(device: str) -> bool:
    """Return whether functions can be compiled for this type of device; cached."""
    if why := trouble(device):
        warnings.warn(f"compiling for {device} failed ({why}): neurons run step by step, several times slower", stacklevel=2)
    return not why


def trouble(device: str) -> str:
    """Return why nothing can be compiled for this type of device, ``cpu`` or ``cuda``; empty if compilation works."""
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.zeros(2, device=device))
    except Exception as error:  # any error means no
        lines = [line for line in str(error).strip().splitlines() if not line.endswith("raised:")]
        return (lines or [type(error).__name__])[0]
    return ""


@cache
def code_for(equations: Callable[..., Any], device: torch.device, *kind: object) -> Callable[..., Any]:
    """Return the equations compiled for one kind of layer. Each kind gets its own copy: torch limits recompilations of one."""
    log.info("compiling %s for %s on %s", equations.__name__, kind, device)
    own = FunctionType(equations.__code__.replace(), equations.__globals__, equations.__name__, None, equations.__closure__)
    return torch.compile(own, dynamic=True, options=None if device.type == "cpu" else UNFUSED)


def in_memory(x: Tensor, leading: int = 0) -> list[int]:
    """Return the dimensions in memory order, the first ``leading`` ones in place: permuted so, rows need no copy."""
    strides = x.stride()
    return [*range(leading), *sorted(range(leading, x.dim()), key=lambda d: -strides[d])]


def bare(x: Tensor) -> Tensor:
    """Return the values without autograd history: torch recompiles for tensors that require gradients and for views."""
    return x.data
