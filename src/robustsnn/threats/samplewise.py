"""Figures of each sample alone, whatever the rank of its tensor: ``[N,D]`` to ``[N,T,C,H,W]``."""

from collections.abc import Callable

import torch
from torch import Tensor


def per_sample(reduce: Callable[..., Tensor], x: Tensor) -> Tensor:
    """``x [N, ...]`` reduced over all dimensions but the first, which stay as ones: ``[N, 1, ..., 1]``.

    Arguments:
        reduce: such as ``torch.amax``, ``torch.sum`` or ``torch.mean``.

    >>> per_sample(torch.sum, torch.ones(2, 3, 4)).shape
    torch.Size([2, 1, 1])
    """
    return reduce(x, dim=tuple(range(1, x.dim())), keepdim=True)


def spread(values: Tensor, x: Tensor) -> Tensor:
    """One value per sample ``[N]``, shaped as `per_sample` shapes it, so that it broadcasts over ``x [N, ...]``."""
    return values.view(-1, *[1] * (x.dim() - 1))


def positive(values: Tensor) -> Tensor:
    """Values of at least the smallest normal number of their type, by which one may divide."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)
