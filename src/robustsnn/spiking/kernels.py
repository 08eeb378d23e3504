"""The same neuron, fused: forward saves only its input, backward recomputes the potentials (recursions: method section 1).

``lif`` in `neuron` is the definition; tests hold these functions equal to it for every surrogate, reset and leak. Large
layers run as machine code (`compiled`), the others step by step, with the same spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from robustsnn.spiking import compiled
from robustsnn.spiking.neuron import Dynamics, recursion


def spikes_of(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """Spikes ``[T, N, ...]``, no gradient."""
    found = compiled.spikes(current, threshold, dynamics)
    return _step_by_step(current, threshold, dynamics) if found is None else found


def _membrane(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    """Potentials before the reset, and spikes, ``[T, N, ...]``, no gradient."""
    found = compiled.membrane(current, threshold, dynamics)
    if found is not None:
        return found
    v_pre = torch.empty_like(current)
    return v_pre, _step_by_step(current, threshold, dynamics, v_pre)


def _step_by_step(current: Tensor, threshold: Tensor, dynamics: Dynamics, v_pre: Tensor | None = None) -> Tensor:
    """Spikes by one potential in place; ``v_pre`` receives the potentials before the reset."""
    current = current.expand(len(current), *torch.broadcast_shapes(current.shape[1:], threshold.shape))
    v, spikes = torch.zeros_like(current[0]), torch.empty_like(current)
    if dynamics.start:
        v += dynamics.start * threshold
    for t, step in enumerate(current):
        if dynamics.leak != 1:
            v *= dynamics.leak
        v += step
        if v_pre is not None:
            v_pre[t] = v
        torch.ge(v, threshold, out=spikes[t])
        v.addcmul_(v if dynamics.reset == "zero" else threshold, spikes[t], value=-1)
    return spikes


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
        return spikes_of(current, threshold, dynamics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        current, threshold, *_ = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        leak = None
        found = compiled.gradients(grad, current, threshold, dynamics)
        if found is None:
            v_pre, spikes = _membrane(current, threshold, dynamics)
            found = recursion(grad, v_pre, spikes, threshold, dynamics, lambda _, u: dynamics.surrogate(u))
            if ctx.needs_input_grad[2]:
                leak = _leak_gradient(found[0], v_pre, spikes, threshold, dynamics)
        return found[0], found[1].sum_to_size(threshold.shape) if ctx.needs_input_grad[1] else None, leak, None


def fused_lif(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """`robustsnn.spiking.lif` by recomputation: same arguments, same spikes, same gradients, far less memory."""
    return _Lif.apply(current, threshold, dynamics.leak, dynamics)  # type: ignore[no-untyped-call, no-any-return]


@dataclass(frozen=True)
class Firing:
    """What a backward rule sees of a layer's forward pass, all ``[T, N, ...]`` but the threshold."""

    current: Tensor
    threshold: Tensor
    dynamics: Dynamics

    @cached_property
    def spikes(self) -> Tensor:
        return spikes_of(self.current, self.threshold, self.dynamics)

    @cached_property
    def v_pre(self) -> Tensor:
        """Potentials before the reset."""
        return _membrane(self.current, self.threshold, self.dynamics)[0]


Rule = Callable[[Tensor, Firing], Tensor]
"""``rule(gradient of the spikes, firing) -> gradient of the current``, both ``[T, N, ...]``."""


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, threshold: Tensor, dynamics: Dynamics, rule: Rule) -> Tensor:
        ctx.save_for_backward(current, threshold)
        ctx.dynamics, ctx.rule = dynamics, rule
        return spikes_of(current, threshold, dynamics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        current, threshold = ctx.saved_tensors
        return ctx.rule(grad, Firing(current, threshold, ctx.dynamics)), None, None, None


def through(rule: Rule) -> Callable[[Tensor, Tensor, Dynamics], Tensor]:
    """The spikes of `fused_lif` with another gradient of the current, and none of threshold and leak."""
    return lambda current, threshold, dynamics: _Through.apply(current, threshold, dynamics, rule)  # type: ignore[no-untyped-call]


def potentials(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """Potentials before the reset, ``[T, N, ...]``, without gradient."""
    return _membrane(current.detach(), threshold.detach(), dynamics)[0]
