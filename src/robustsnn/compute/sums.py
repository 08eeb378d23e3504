"""Running sums that torch can be asked for anywhere."""

from __future__ import annotations

import torch
from torch import Tensor


def running_sum(values: Tensor, dim: int) -> Tensor:
    """``values.cumsum(dim)``, no gradient, also where only deterministic algorithms are wanted: for a GPU torch has none, so
    the processor adds.

    >>> running_sum(torch.tensor([1.0, 2.0, 3.0]), 0)
    tensor([1., 3., 6.])
    """
    if values.is_cuda and torch.are_deterministic_algorithms_enabled():
        return values.cpu().cumsum(dim).to(values.device)
    return values.cumsum(dim)
