"""The memory layout of images while a network runs."""

from __future__ import annotations

import torch
from torch import nn

FEWEST = 16
"""Input channels that a strided pointwise convolution needs: twice the number that was seen to fail, as a safety margin."""


def layout(net: nn.Module) -> torch.memory_format:
    """Return channels last, the fastest layout for convolutions, unless torch 2.13 on a CPU would then write out of bounds.

    It does so in the weight gradient of a strided pointwise convolution with fewer than 8 input channels.
    """
    for part in net.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and max(part.stride) > 1 and part.in_channels < FEWEST:
            return torch.contiguous_format
    return torch.channels_last
