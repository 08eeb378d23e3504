"""Batch norm with exact statistics for channels-last tensors.

For these, torch's CPU kernel loses two digits (error 8e-5 over 131,072 values per channel, against 9e-7 in the default
layout), and rounding that large flips spikes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute import machine_code
from robustsnn.compute.recall import known
from robustsnn.compute.rewiring import view


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose batch statistics are averaged image by image."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.dtype.itemsize < 4  # under autocast: torch's own kernel averages in float32
        estimates = (self.training or self.running_mean is None) and not half
        if not estimates or x.dim() != 4 or x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        y, mean, variance = _Normalize.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        self._follow(mean, variance, x.numel() // x.shape[1])
        given, weight, bias = x.detach(), _detached(self.weight), _detached(self.bias)
        return known(y, lambda: _normalized(given, weight, bias, mean, variance, self.eps))

    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        running_mean, running_var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if not self.training or running_mean is None or running_var is None or batches is None:
            return
        batches += 1
        share = 1 / int(batches) if self.momentum is None else self.momentum
        # `data` keeps versions: as in torch's own layer, a second forward pass before backward does not invalidate the first
        running_mean.data.lerp_(mean, share)
        running_var.data.lerp_(variance * (count / (count - 1)), share)


def exact(norm: nn.BatchNorm2d, kind: type[BatchNorm2d] = BatchNorm2d) -> BatchNorm2d:
    """Return the same layer over the same tensors with exact statistics."""
    same: Any = view(norm)
    same.__class__ = kind
    return same  # type: ignore[no-any-return]


class Synchronised(BatchNorm2d):
    """Batch norm whose batch statistics cover the images of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        x = x.float() if x.dtype.itemsize < 4 else x
        others = [0, *range(2, x.dim())]
        count = _everyones(x.new_tensor(float(x.numel() // x.shape[1])))
        mean = _everyones(x.sum(others)) / count
        centred = x - mean.view(-1, 1, 1)
        variance = _everyones(centred.square().sum(others)) / count
        self._follow(mean.detach(), variance.detach(), int(count))
        scale = (variance + self.eps).rsqrt()
        y: Tensor = centred * (scale if self.weight is None else scale * self.weight).view(-1, 1, 1)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _everyones(grad)


def _everyones(x: Tensor) -> Tensor:
    return _Sum.apply(x)  # type: ignore[no-untyped-call, no-any-return]


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = statistics(x)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.eps = eps
        y = _normalized(x, weight, bias, mean, variance, eps)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.native_batch_norm_backward(grad, x, weight, None, None, mean, inverse, True, ctx.eps, needed)
        return (*(gradient if need else None for gradient, need in zip(found, needed, strict=True)), None)  # type: ignore[return-value]


def _normalized(x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance ``[C]`` of ``x [N,C,H,W]``, combined from those of each image."""
    rows = x.detach().permute(0, 2, 3, 1).flatten(1, 2)
    moments = machine_code.code_for(_moments, rows.device, rows.dtype) if machine_code.repays(rows, len(rows)) else _moments
    variances, means = moments(machine_code.bare(rows))
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    variances, means = torch.var_mean(rows, 1, correction=0)
    return variances, means
