"""Running sums on every device."""

from __future__ import annotations

import torch
from torch import Tensor


def running_sum(values: Tensor, dim: int) -> Tensor:
    """Return ``values.cumsum(dim)`` without gradient; on the CPU if a GPU must be deterministic, which torch does not support.

    >>> running_sum(torch.tensor([1.0, 2.0, 3.0]), 0)
    tensor([1., 3., 6.])
    """
    if values.is_cuda and torch.are_deterministic_algorithms_enabled():
        return values.cpu().cumsum(dim).to(values.device)
    return values.cumsum(dim)
