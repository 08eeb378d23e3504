"""Where the channels of images lie in memory while a network runs."""

from __future__ import annotations

import torch
from torch import nn

FEWEST = 16
"""Channels that a strided pointwise convolution must receive: twice as many as were seen to do harm, to be safe."""


def layout(net: nn.Module) -> torch.memory_format:
    """Channels last, which is where convolutions want them, unless torch 2.13 on a CPU would then write beyond its memory.

    It does in the weights' gradient of a pointwise convolution with a stride and fewer than 8 input channels.
    """
    for part in net.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and max(part.stride) > 1 and part.in_channels < FEWEST:
            return torch.contiguous_format
    return torch.channels_last
