"""Activation checkpointing: of the segments of a body only the inputs are kept, the rest is computed again on the way back.

Chen et al. 2016, arXiv 1604.06174. Costs one more forward pass; gradients and statistics stay the same to the bit.
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
    """A view of a network whose ``nn.Sequential`` parts keep the inputs of about as many segments as these have layers. Raises
    ValueError: no part is a sequence of more than two layers."""
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
    """A sequence, cut into segments of about as many layers as there are segments."""

    def __init__(self, whole: nn.Sequential) -> None:
        super().__init__(OrderedDict((name, view(layer)) for name, layer in whole.named_children()))

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        size = math.isqrt(len(layers) - 1) + 1
        if not isinstance(x, Tensor) or not torch.is_grad_enabled():
            return reduce(lambda given, layer: layer(given), layers, x)  # torch.fx follows the layers themselves
        for start in range(0, len(layers), size):
            segment = nn.Sequential(*layers[start : start + size])

            def contexts(part: nn.Module = segment) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
                return nullcontext(), _Leaving(part)

            x = checkpoint(segment, x, use_reentrant=False, context_fn=contexts)
        return x


class _Leaving(AbstractContextManager[None]):
    """Statistics that a pass inside would follow a second time stay as they are, each time a graph is gone back through.

    Raises RuntimeError where parameters are no longer those of the first pass.
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
