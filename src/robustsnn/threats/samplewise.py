"""Reductions per sample, for tensors of any rank: ``[N,D]`` to ``[N,T,C,H,W]``."""

from collections.abc import Callable

import torch
from torch import Tensor


def per_sample(reduce: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Reduce ``x [N, ...]`` over all dimensions but the first, keeping them with size 1: ``[N, 1, ..., 1]``.

    Arguments:
        reduce: such as ``torch.amax``, ``torch.sum`` or ``torch.mean``.

    >>> per_sample(torch.sum, torch.ones(2, 3, 4)).shape
    torch.Size([2, 1, 1])
    """
    return reduce(x, dim=tuple(range(1, x.dim())), keepdim=True)


def spread(values: Tensor, x: Tensor) -> Tensor:
    """Reshape one value per sample ``[N]`` to ``[N, 1, ..., 1]``, so that it broadcasts over ``x [N, ...]``."""
    return values.view(-1, *[1] * (x.dim() - 1))


def positive(values: Tensor) -> Tensor:
    """Raise values to at least the smallest normal number of their type, so that division by them is safe."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)
