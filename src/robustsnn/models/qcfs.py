"""An activation that already counts in spikes: quantised, clipped, shifted (QCFS)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class QCFS(nn.Module):
    """``clip(floor(x * levels / threshold + 1/2) / levels, 0, 1)`` with a trained threshold (Bu et al. 2022).

    A neuron with this threshold, soft reset and half a threshold at the start fires at exactly this rate over ``levels``
    steps of constant input. The published output has height ``threshold``, this one, like a spike, 1: the layer behind makes
    up for it. The gradient passes the floor as it is. Where training takes the
    threshold below 0.001, that counts instead.

    Arguments:
        levels: number of steps of the staircase, at least 1.
        threshold: the first one, greater than 0.

    Raises:
        ValueError: a value outside its range.

    >>> QCFS(4, threshold=2.0)(torch.tensor([-1.0, 0.2, 0.3, 1.0, 9.0])).tolist()
    [0.0, 0.0, 0.25, 0.5, 1.0]
    """

    def __init__(self, levels: int = 4, threshold: float = 8.0) -> None:
        super().__init__()
        if not isinstance(levels, int) or levels < 1 or not 0 < threshold < math.inf:
            raise ValueError(f"QCFS needs at least one level and a threshold greater than 0, not {levels}, {threshold}")
        self.levels = levels
        self.threshold = nn.Parameter(torch.tensor(float(threshold)))

    @property
    def lifted(self) -> Tensor:
        """The threshold, or 0.001 where that is higher."""
        return self.threshold.clamp_min(1e-3)

    def forward(self, x: Tensor) -> Tensor:
        stairs = x * self.levels / self.lifted + 0.5
        floored = stairs + (stairs.floor() - stairs).detach()
        return (floored / self.levels).clamp(0, 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
