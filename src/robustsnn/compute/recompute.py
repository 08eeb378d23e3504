"""Activation checkpointing: keep only the inputs of a body's segments and recompute the rest in backward.

Chen et al. 2016, arXiv 1604.06174. It costs one more forward pass; gradients and statistics stay bitwise equal.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robustsnn.compute import rewire, view
from robustsnn.compute.recall import check_unwritten


def recomputing(net: nn.Module) -> nn.Module:
    """Return a view whose ``nn.Sequential`` parts keep only segment inputs; n layers form about sqrt(n) segments. Raises
    ValueError if no part is a sequence of more than two layers."""
    chosen: list[str] = []

    def swap(name: str, module: nn.Module) -> nn.Module | None:
        if type(module) is not nn.Sequential or len(module) < 3:
            return None
        chosen.append(name)
        return _Segments(module).train(module.training)

    view = rewire(net, swap)
    if not chosen:
        raise ValueError(f"{type(net).__name__} has no nn.Sequential of three layers to recompute: use smaller batches")
    return view


class _Segments(nn.Sequential):
    """A sequence of n layers, cut into about sqrt(n) segments."""

    def __init__(self, whole: nn.Sequential) -> None:
        super().__init__(OrderedDict((name, view(layer)) for name, layer in whole.named_children()))

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        size = math.isqrt(len(layers) - 1) + 1
        if not isinstance(x, Tensor) or not torch.is_grad_enabled():
            return reduce(lambda given, layer: layer(given), layers, x)  # torch.fx must trace the layers
        for start in range(0, len(layers), size):
            segment = nn.Sequential(*layers[start : start + size])

            def contexts(part: nn.Module = segment) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
                return nullcontext(), _Leaving(part)

            x = checkpoint(segment, x, use_reentrant=False, context_fn=contexts)
        return x


class _Leaving(AbstractContextManager[None]):
    """Restore the buffers after a recomputation, which would otherwise update running statistics a second time.

    Raises RuntimeError if a parameter was modified since the first pass.
    """

    def __init__(self, segment: nn.Module) -> None:
        self.buffers = list(segment.buffers())
        self.parameters = [(parameter, parameter._version) for parameter in segment.parameters()]

    def __enter__(self) -> None:
        for parameter, version in self.parameters:
            check_unwritten(parameter, version)
        self.before = [buffer.clone() for buffer in self.buffers]

    def __exit__(self, *_: object) -> None:
        for buffer, value in zip(self.buffers, self.before, strict=True):
            buffer.copy_(value)
