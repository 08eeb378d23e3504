"""The same neuron, fused: forward saves only its input, backward recomputes the potentials (recursions: method section 1).

``lif`` in `neuron` is the definition; tests hold these functions equal to it for every surrogate, reset and leak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustsnn.spiking.neuron import Dynamics


def _spikes(current: Tensor, threshold: Tensor, dynamics: Dynamics, v_pre: Tensor | None = None) -> Tensor:
    """Spikes ``[T, N, ...]`` by one potential in place, no gradient; ``v_pre`` receives the potentials before the reset."""
    v = torch.zeros(torch.broadcast_shapes(current.shape[1:], threshold.shape), dtype=current.dtype, device=current.device)
    if dynamics.start:
        v += dynamics.start * threshold
    spikes = v.new_empty(len(current), *v.shape)
    for t, step in enumerate(current):
        if dynamics.leak != 1:
            v *= dynamics.leak
        v += step
        if v_pre is not None:
            v_pre[t] = v
        torch.ge(v, threshold, out=spikes[t])
        v.addcmul_(v if dynamics.reset == "zero" else threshold, spikes[t], value=-1)
    return spikes


Derivative = Callable[[int, Tensor], Tensor]
"""``derivative(t, u)``: the derivative of a spike at step ``t``, where the potential is ``u`` above the threshold."""


def recursion(
    grad: Tensor, v_pre: Tensor, spikes: Tensor, threshold: Tensor, dynamics: Dynamics, derivative: Derivative
) -> tuple[Tensor, Tensor]:
    """Back-propagation through time: gradients of the current ``[T, N, ...]`` and of the threshold at every neuron."""
    grad_current = torch.empty_like(grad)
    grad_threshold = torch.zeros_like(grad[0])
    a = torch.zeros_like(grad[0])  # dL/dv[t], the potential after the reset
    for t in range(len(grad) - 1, -1, -1):
        lost = v_pre[t] if dynamics.reset == "zero" else threshold  # what a spike takes from the potential
        upstream = grad[t] if dynamics.detach_reset else torch.addcmul(grad[t], a, lost, value=-1)
        sigma = derivative(t, v_pre[t] - threshold) * upstream
        grad_threshold -= sigma
        if dynamics.reset == "zero":
            a.addcmul_(a, spikes[t], value=-1)
        else:
            grad_threshold.addcmul_(a, spikes[t], value=-1)
        torch.add(a, sigma, out=grad_current[t])
        torch.mul(grad_current[t], dynamics.leak, out=a)
    if dynamics.start:
        grad_threshold += dynamics.start * a
    return grad_current, grad_threshold


def _leak_gradient(grad_current: Tensor, v_pre: Tensor, spikes: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    total = (grad_current[0] * (dynamics.start * threshold)).sum()
    for t in range(1, len(grad_current)):
        lost = v_pre[t - 1] if dynamics.reset == "zero" else threshold
        total += (grad_current[t] * (v_pre[t - 1] - spikes[t - 1] * lost)).sum()
    return total


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, leak: float | Tensor, dynamics: Dynamics) -> Tensor:
        ctx.save_for_backward(current, threshold, *([leak] if isinstance(leak, Tensor) else []))
        ctx.dynamics = dynamics
        return _spikes(current, threshold, dynamics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        current, threshold, *_ = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        v_pre = torch.empty_like(grad)
        spikes = _spikes(current, threshold, dynamics, v_pre)
        found = recursion(grad, v_pre, spikes, threshold, dynamics, lambda _, u: dynamics.surrogate(u))
        grad_threshold = found[1].sum_to_size(threshold.shape) if ctx.needs_input_grad[1] else None
        leak = _leak_gradient(found[0], v_pre, spikes, threshold, dynamics) if ctx.needs_input_grad[2] else None
        return found[0], grad_threshold, leak, None


def fused_lif(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """`robustsnn.spiking.lif` by recomputation: same arguments, same spikes, same gradients, far less memory."""
    return _Lif.apply(current, threshold, dynamics.leak, dynamics)  # type: ignore[no-untyped-call, no-any-return]


@dataclass(frozen=True)
class Firing:
    """What a backward rule sees of a layer's forward pass, all ``[T, N, ...]`` but the threshold."""

    current: Tensor
    v_pre: Tensor
    spikes: Tensor
    threshold: Tensor
    dynamics: Dynamics


Rule = Callable[[Tensor, Firing], Tensor]
"""``rule(gradient of the spikes, firing) -> gradient of the current``, both ``[T, N, ...]``."""


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, dynamics: Dynamics, rule: Rule) -> Tensor:
        ctx.save_for_backward(current, threshold)
        ctx.dynamics, ctx.rule = dynamics, rule
        return _spikes(current, threshold, dynamics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        current, threshold = ctx.saved_tensors
        v_pre = torch.empty_like(grad)
        spikes = _spikes(current, threshold, ctx.dynamics, v_pre)
        return ctx.rule(grad, Firing(current, v_pre, spikes, threshold, ctx.dynamics)), None, None, None


def through(rule: Rule) -> Callable[[Tensor, Tensor, Dynamics], Tensor]:
    """The spikes of `fused_lif` with another gradient of the current, and none of threshold and leak."""
    return lambda current, threshold, dynamics: _Through.apply(current, threshold, dynamics, rule)  # type: ignore[no-untyped-call]


def potentials(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """Potentials before the reset, ``[T, N, ...]``, without gradient."""
    v_pre = torch.empty_like(current, memory_format=torch.contiguous_format)
    _spikes(current.detach(), threshold.detach(), dynamics, v_pre)
    return v_pre
