"""Full float32 precision, whatever modes the caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def apart() -> Iterator[None]:
    """Leave inference mode, ``no_grad`` and autocast while this is open. Also a decorator.

    A missing gradient would look like robustness, and a network in bfloat16 is a different network.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def single() -> Iterator[None]:
    """Make new tensors float32 while this is open, whatever ``torch.set_default_dtype`` was called with."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def ieee() -> Iterator[None]:
    """Compute convolutions and products on a GPU in IEEE float32 while this is open, and apply `apart`. Also a decorator.

    By default torch rounds the inputs of GPU convolutions to ten bits (TF32), which flips spikes: the network would differ
    between GPU and CPU, and between attack and judgement.
    """
    kinds = _kinds()
    before = [getattr(kind, name) for kind, name, _ in kinds]
    try:
        for kind, name, exact in kinds:
            setattr(kind, name, exact)
        with apart():
            yield
    finally:
        for (kind, name, _), value in zip(kinds, before, strict=True):
            setattr(kind, name, value)


def _kinds() -> list[tuple[Any, str, Any]]:
    """Return what to set and where, using the interface that this torch version accepts without warnings."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        return [(cudnn.conv, "fp32_precision", "ieee"), (matmul, "fp32_precision", "ieee")]
    return [(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
