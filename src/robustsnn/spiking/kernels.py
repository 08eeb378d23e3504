"""The same neuron, fused: forward saves only its input, backward recomputes the potentials (recursions: method section 1).

``lif`` in `neuron` is the definition; tests hold these functions equal to it for every surrogate, reset and leak.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustsnn.spiking.neuron import Dynamics


def potentials(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    """Potentials before the reset and spikes, both ``[T, N, ...]``; no gradient."""
    shape = torch.broadcast_shapes(current.shape, threshold.shape)
    v_pre = torch.empty(shape, dtype=current.dtype, device=current.device)
    spikes = torch.empty_like(v_pre)
    v = torch.zeros_like(v_pre[0])
    for t in range(len(current)):
        torch.add(current[t], v, alpha=dynamics.leak, out=v_pre[t])
        spikes[t] = v_pre[t] >= threshold
        if dynamics.reset == "zero":
            torch.addcmul(v_pre[t], v_pre[t], spikes[t], value=-1, out=v)
        else:
            torch.sub(v_pre[t], spikes[t] * threshold, out=v)
    return v_pre, spikes


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
        ctx.save_for_backward(current, threshold)
        ctx.dynamics = dynamics
        return potentials(current, threshold, dynamics)[1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        current, threshold = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        through_reset = not dynamics.detach_reset
        v_pre, spikes = potentials(current, threshold, dynamics)
        slope = dynamics.surrogate(v_pre - threshold)
        grad_current = torch.empty_like(v_pre)
        grad_threshold = torch.zeros_like(v_pre[0])
        a = torch.zeros_like(v_pre[0])  # dL/dv[t], the potential after the reset
        for t in range(len(current) - 1, -1, -1):
            if dynamics.reset == "zero":
                upstream = torch.addcmul(grad[t], a, v_pre[t], value=-1) if through_reset else grad[t]
                sigma = upstream * slope[t]
                torch.addcmul(sigma, a, 1 - spikes[t], out=grad_current[t])
            else:
                upstream = torch.addcmul(grad[t], a, threshold, value=-1) if through_reset else grad[t]
                sigma = upstream * slope[t]
                torch.add(sigma, a, out=grad_current[t])
                grad_threshold.addcmul_(a, spikes[t], value=-1)
            grad_threshold -= sigma
            a = grad_current[t] * dynamics.leak
        needed = grad_threshold.sum_to_size(threshold.shape) if ctx.needs_input_grad[1] else None
        return grad_current, needed, None


def fused_lif(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """`robustsnn.spiking.lif` by recomputation: same arguments, same spikes, same gradients, far less memory."""
    return _Lif.apply(current, threshold, dynamics)  # type: ignore[no-untyped-call, no-any-return]


class _Rate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
        spikes = potentials(current, threshold, dynamics)[1]
        ctx.save_for_backward(spikes.amax(0))
        return spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (fired,) = ctx.saved_tensors
        return grad * fired, None, None


def rate_lif(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """The same spikes; the gradient passes, at every step, where the neuron fired at least once ("BPTR")."""
    return _Rate.apply(current, threshold, dynamics)  # type: ignore[no-untyped-call, no-any-return]
