"""Two tensors mixed by two learned weights, in one pass over memory each way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustsnn.compute import machine_code


def mixture(weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``weights[0] * one + weights[1] * other``: the definition."""
    return weights[0] * one + weights[1] * other


def mixed(weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`mixture`, to the bit, by machine code where tensors are large and of one layout.

    It keeps for the way back only what a gradient of the weights needs. torch.compile and torch.export see the definition.
    """
    if torch.compiler.is_compiling() or machine_code.order(weights, one, other) is None:
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
    """The equations in one pass, unless their own graph is asked for or layouts differ."""
    found = None if torch.is_grad_enabled() else machine_code.pointwise(equations, weights, *alike)
    return equations(weights, *alike) if found is None else found


def _shares(weights: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return grad * weights[0], grad * weights[1]


def _gradients(weights: Tensor, grad: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.stack([(grad * one).sum(), (grad * other).sum()]), *_shares(weights, grad)
