"""Quantization clip-floor-shift activation (QCFS): an ANN activation with the output levels of a spiking neuron."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Stairs(torch.autograd.Function):
    """The equation of `QCFS`; it saves only its input and makes single passes over memory, which halves the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x, threshold)
        ctx.levels = levels
        return (x * levels).div_(threshold).add_(0.5).floor_().div_(levels).clamp_(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, threshold = ctx.saved_tensors
        low, high = -0.5 / ctx.levels * threshold, (1 + 0.5 / ctx.levels) * threshold  # where floor gives 0 .. levels
        of_x = torch.where((x >= low) & (x < high), grad, 0).div_(threshold)
        of_threshold = -(of_x * x).sum().div(threshold).view_as(threshold) if ctx.needs_input_grad[1] else None
        return of_x, of_threshold, None


class QCFS(nn.Module):
    """``clip(floor(x * levels / threshold + 1/2) / levels, 0, 1)`` with a trained threshold (Bu et al. 2022).

    A neuron with this threshold, soft reset and an initial potential of half a threshold fires at exactly this rate over
    ``levels`` steps of constant input. The published output has height ``threshold``; this one has height 1, like a spike, and
    the layer behind compensates. The gradient passes straight through the floor. A threshold below 0.001 counts as 0.001.

    Arguments:
        levels: number of steps of the staircase, at least 1.
        threshold: initial threshold, greater than 0.

    Raises:
        ValueError: a value is out of range.

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
        """The threshold, at least 0.001."""
        return self.threshold.clamp_min(1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return _Stairs.apply(x, self.lifted, self.levels)  # type: ignore[no-untyped-call, no-any-return]

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
