"""Layers for the frames of event cameras, ``[N,T,C,H,W]`` with one channel per polarity."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MeanOverTime(nn.Module):
    """The mean of frames ``[N,T,C,H,W]`` over time; images ``[N,C,H,W]`` pass unchanged. With it, an ANN takes frames, and its
    spiking network, which receives one frame per time step, computes the same layers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) if x.dim() == 5 else x


class Clip(nn.Module):
    """Counts of events limited to ``most``, such as 1 for binary frames. The gradient passes up to and including ``most``.

    >>> Clip(1)(torch.tensor([0.0, 1.0, 5.0]))
    tensor([0., 1., 1.])
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        if most < 1:
            raise ValueError(f"counts may be limited to 1 or more, not {most}")
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(max=self.most)

    def extra_repr(self) -> str:
        return f"most={self.most}"


class Denoise(nn.Module):
    """Background-activity filter on frames ``[N,T,C,H,W]``: an event stays only if at least ``k`` other events of any polarity
    lie in the 3x3 pixels around it, in its own or the previous time bin.

    The gradient is that of a filter with a soft threshold, so attacks see which events would stay or would support others.

    >>> frames = torch.zeros(1, 2, 2, 4, 4)
    >>> frames[0, 0, 0, 1, 1] = frames[0, 1, 1, 2, 2] = 1
    >>> Denoise()(frames).nonzero().tolist()  # the first event has no other one before or beside it
    [[0, 1, 1, 2, 2]]
    """

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"an event needs k >= 1 other events, not {k}: leave the filter out to keep all events")
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 5:
            raise ValueError(f"the filter takes frames [N, T, C, H, W], not {list(x.shape)}: put it before the mean over time")
        around = F.pad(x.sum(2), (1, 1, 1, 1)).unfold(-1, 3, 1).sum(-1).unfold(-2, 3, 1).sum(-1)
        around = around + F.pad(around[:, :-1], (0, 0, 0, 0, 1, 0))
        others = around[:, :, None] - x.detach().clamp(max=1)
        stays = x * (others >= self.k)
        soft = x * torch.sigmoid(others - self.k + 0.5)
        return _Instead.apply(stays, soft)  # type: ignore[no-untyped-call, no-any-return]

    def extra_repr(self) -> str:
        return f"k={self.k}"


class _Instead(torch.autograd.Function):
    """``value`` with the gradient of ``soft``."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, soft: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad
