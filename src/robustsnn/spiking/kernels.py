"""The same neuron, fused: forward saves only its input, backward recomputes the potentials (recursions: method section 1).

``lif`` in `neuron` is the definition; tests hold these functions equal to it for every surrogate, reset and leak.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustsnn.spiking.neuron import Dynamics


def _spikes(current: Tensor, threshold: Tensor, dynamics: Dynamics, v_pre: Tensor | None = None) -> Tensor:
    """Spikes ``[T, N, ...]`` by one potential in place, no gradient; ``v_pre`` receives the potentials before the reset."""
    v = torch.zeros(torch.broadcast_shapes(current.shape[1:], threshold.shape), dtype=current.dtype, device=current.device)
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


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
        ctx.save_for_backward(current, threshold)
        ctx.dynamics = dynamics
        return _spikes(current, threshold, dynamics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        current, threshold = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        v_pre = torch.empty_like(grad)
        spikes = _spikes(current, threshold, dynamics, v_pre)
        grad_current = torch.empty_like(grad)
        grad_threshold = torch.zeros_like(grad[0])
        a = torch.zeros_like(grad[0])  # dL/dv[t], the potential after the reset
        for t in range(len(grad) - 1, -1, -1):
            lost = v_pre[t] if dynamics.reset == "zero" else threshold  # what a spike takes from the potential
            upstream = grad[t] if dynamics.detach_reset else torch.addcmul(grad[t], a, lost, value=-1)
            sigma = dynamics.surrogate(v_pre[t] - threshold) * upstream
            grad_threshold -= sigma
            if dynamics.reset == "zero":
                a.addcmul_(a, spikes[t], value=-1)
            else:
                grad_threshold.addcmul_(a, spikes[t], value=-1)
            torch.add(a, sigma, out=grad_current[t])
            torch.mul(grad_current[t], dynamics.leak, out=a)
        needed = grad_threshold.sum_to_size(threshold.shape) if ctx.needs_input_grad[1] else None
        return grad_current, needed, None


def fused_lif(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """`robustsnn.spiking.lif` by recomputation: same arguments, same spikes, same gradients, far less memory."""
    return _Lif.apply(current, threshold, dynamics)  # type: ignore[no-untyped-call, no-any-return]


class _Rate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
        spikes = _spikes(current, threshold, dynamics)
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
