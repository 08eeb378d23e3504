"""Float32 with all its digits, whatever the caller has switched on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def apart() -> Iterator[None]:
    """Leave inference mode, ``no_grad`` and autocast while this is open. Also a decorator.

    A gradient that is not there would look like robustness, and a network in bfloat16 is another network.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def ieee() -> Iterator[None]:
    """Let convolutions and products on a GPU compute in float32 as IEEE defines it, `apart`, while this is open.

    By default torch's convolutions round their inputs to ten bits there (TF32), and that flips spikes: a network would be
    another one on a GPU than on the CPU, and what an attack follows would not be what is judged. Also a decorator.
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
    """What to set, where: by the one of torch's two interfaces that its version reads without complaint."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        return [(cudnn.conv, "fp32_precision", "ieee"), (matmul, "fp32_precision", "ieee")]
    return [(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
