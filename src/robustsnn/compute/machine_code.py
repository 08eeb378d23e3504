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

SMALLEST, EACH = 2**16, 2**11
"""Values, and values per sample and time step, from which on machine code repays its compilation: ten to forty seconds for a
network. Less than that runs step by step, which costs a small network less."""

UNFUSED: dict[str, str | int | bool | Callable[..., Any]] = {"emulate_precision_casts": True}
"""Of a GPU's compiler, which else makes one operation of a product and a sum: rounded once, not as step by step."""

log = logging.getLogger(__name__)


def repays(x: Tensor, samples: int) -> bool:
    """Whether machine code is worth it for a tensor of so many samples, times steps, and can be made where it is."""
    return x.numel() >= max(SMALLEST, EACH * samples) and compiles(x.device.type)


@cache
def compiles(device: str) -> bool:
    """Whether there is a compiler for this kind of device; asked once."""
    if why := trouble(device):
        warnings.warn(f"neurons run step by step, several times slower: compiling for {device} failed ({why})", stacklevel=2)
    return not why


def trouble(device: str) -> str:
    """Why nothing can be compiled for this kind of device, ``cpu`` or ``cuda``; empty where it works."""
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.zeros(2, device=device))
    except Exception as error:  # whatever it is, the answer is no
        lines = [line for line in str(error).strip().splitlines() if not line.endswith("raised:")]
        return (lines or [type(error).__name__])[0]
    return ""


@cache
def code_for(equations: Callable[..., Any], device: torch.device, *kind: object) -> Callable[..., Any]:
    """The equations compiled for one kind of layer. Torch limits how often a function is compiled: each kind has its own."""
    log.info("compiling %s for %s on %s", equations.__name__, kind, device)
    own = FunctionType(equations.__code__.replace(), equations.__globals__, equations.__name__, None, equations.__closure__)
    return torch.compile(own, dynamic=True, options=None if device.type == "cpu" else UNFUSED)


def bare(x: Tensor) -> Tensor:
    """The values without history: torch compiles anew for what requires a gradient, and for what is a view."""
    return x.data
