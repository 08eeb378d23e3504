"""A weighted sum of two tensors with learned weights, in one pass over memory forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustsnn.compute import machine_code


def mixture(weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return ``weights[0] * one + weights[1] * other``; the reference implementation."""
    return weights[0] * one + weights[1] * other


def mixed(weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return `mixture`, bit for bit, using machine code for large tensors of one layout.

    The graph keeps only what the gradient of the weights needs. torch.compile and torch.export see `mixture`.
    """
    if torch.compiler.is_compiling() or _order(weights, one, other) is None:
        return mixture(weights, one, other)
    return _Mixed.apply(weights, one, other)  # type: ignore[no-untyped-call, no-any-return]


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, one: Tensor, other: Tensor) -> Any:
        ctx.save_for_backward(weights, *([one, other] if ctx.needs_input_grad[0] else []))
        return _at_once(mixture, weights, one, other)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        weights, *parts = ctx.saved_tensors
        return _at_once(_gradients, weights, grad, *parts) if parts else (None, *_at_once(_shares, weights, grad))


def _at_once(equations: Any, weights: Tensor, *alike: Tensor) -> Any:
    """Evaluate the equations in one pass if no graph is recorded; results are like ``alike`` or a few numbers."""
    dimensions = None if torch.is_grad_enabled() else _order(weights, *alike)
    if dimensions is None:
        return equations(weights, *alike)
    rows = [machine_code.bare(x.permute(dimensions).reshape(-1)) for x in alike]
    code = machine_code.code_for(equations, weights.device, weights.dtype)
    with torch.no_grad():
        found = code(machine_code.bare(weights), *rows)

    def back(x: Tensor) -> Tensor:
        return x.as_strided(alike[0].shape, alike[0].stride()) if len(x) == len(rows[0]) else x

    return back(found) if isinstance(found, Tensor) else tuple(map(back, found))


def _order(weights: Tensor, *alike: Tensor) -> list[int] | None:
    """Return the dimensions in memory order; None if layouts differ or have gaps, or machine code does not pay off."""
    first, strides = alike[0], alike[0].stride()
    dimensions = machine_code.in_memory(first)
    same = all((x.shape, x.stride(), x.dtype) == (first.shape, strides, weights.dtype) for x in alike)
    return (
        dimensions if same and first.permute(dimensions).is_contiguous() and machine_code.repays(first, len(first)) else None
    )


def _shares(weights: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return grad * weights[0], grad * weights[1]


def _gradients(weights: Tensor, grad: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.stack([(grad * one).sum(), (grad * other).sum()]), *_shares(weights, grad)
