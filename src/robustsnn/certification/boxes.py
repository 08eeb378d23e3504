"""Intervals of all values of a layer at once, and how they pass through operations that are not neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.models import Normalize, weight_of

Affine = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
"""Weight layers that intervals pass through."""
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | Normalize


@dataclass(frozen=True)
class Box:
    """Intervals ``center - radius .. center + radius`` of R sums over time steps, rows folded into the batch ``[R*N, ...]``.

    Arguments:
        times: how many time steps each row sums, ``[R]``: a bias counts that often.
        slack: rounding errors to allow for, relative to the size of what is summed.
    """

    center: Tensor
    radius: Tensor
    times: Tensor
    slack: float = 0.0

    @staticmethod
    def between(low: Tensor, high: Tensor, times: Tensor, slack: float = 0.0) -> Box:
        """Return the box of bounds ``[R*N, ...]``."""
        return Box((low + high) / 2, (high - low) / 2, times, slack)

    @property
    def low(self) -> Tensor:
        return self.center - self.radius

    @property
    def high(self) -> Tensor:
        return self.center + self.radius

    @property
    def steps(self) -> Tensor:
        """``times`` in a shape that broadcasts over the box."""
        count = len(self.center) // len(self.times)
        each: Tensor = self.times.repeat_interleave(count)
        return each.view(-1, *[1] * (self.center.dim() - 1))

    @property
    def size(self) -> Tensor:
        """Upper bounds of the absolute values."""
        return self.center.abs() + self.radius

    def reshaped(self, change: Callable[[Tensor], Tensor]) -> Box:
        """Return the box after an operation that is linear with weights of at least 0 and has no bias."""
        return replace(self, center=change(self.center), radius=change(self.radius))

    def scaled(self, factor: Tensor | float) -> Box:
        """Return the box times a constant."""
        factor = torch.as_tensor(factor, dtype=self.center.dtype, device=self.center.device)
        return replace(self, center=self.center * factor, radius=(self.radius + self.slack * self.size) * factor.abs())

    def shifted(self, by: Tensor | float) -> Box:
        """Return the box plus a constant at every time step."""
        by = torch.as_tensor(by, dtype=self.center.dtype, device=self.center.device)
        moved = self.steps * by
        return replace(self, center=self.center + moved, radius=self.radius + self.slack * (self.size + moved.abs()))

    def plus(self, other: Box, sign: float = 1.0) -> Box:
        """Return the sum with another box of the same rows, or the difference."""
        if not torch.equal(self.times, other.times):
            raise ValueError("a sum of values with and without time has no interval: let one layer of neurons see both")
        return replace(self, center=self.center + sign * other.center, radius=self.radius + other.radius)

    def monotone(self, rising: Callable[[Tensor], Tensor]) -> Box:
        """Return the box after a function that never falls where its input rises."""
        return Box.between(rising(self.low), rising(self.high), self.times, self.slack)


def weighted(layer: Affine, box: Box) -> Box:
    """Return the box after a layer: the center through W, the radius through |W|, which is W⁺ and W⁻ in two products."""
    weight = weight_of(layer)

    def product(x: Tensor, weight: Tensor) -> Tensor:
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight)
        return layer._conv_forward(x, weight, None)  # type: ignore[no-any-return]

    radius = product(box.radius + box.slack * box.size, weight.abs()) if box.slack else product(box.radius, weight.abs())
    found = replace(box, center=product(box.center, weight), radius=radius)
    if layer.bias is None:
        return found
    return found.shifted(layer.bias.view(-1, *[1] * (0 if isinstance(layer, nn.Linear) else len(layer.kernel_size))))


def normalised(layer: Norm, box: Box) -> Box:
    """Return the box after a norm with fixed statistics: a scale and a shift per channel."""
    if isinstance(layer, Normalize):
        return box.shifted(-layer.mean).scaled(1 / layer.std)
    if layer.running_mean is None or layer.running_var is None:
        raise ValueError("a batch norm without running statistics depends on the batch and has no intervals: track statistics")
    scale = torch.rsqrt(layer.running_var + layer.eps)
    scale = scale if layer.weight is None else scale * layer.weight
    shift = -layer.running_mean * scale if layer.bias is None else layer.bias - layer.running_mean * scale
    shape = [-1, *[1] * (box.center.dim() - 2)]
    return box.scaled(scale.view(shape)).shifted(shift.view(shape))
