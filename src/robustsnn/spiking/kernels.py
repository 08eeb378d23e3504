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


@dataclass(frozen=True)
class Firing:
    """What a backward rule sees of a layer's forward pass, all ``[T, N, ...]`` but the threshold."""

    current: Tensor
    threshold: Tensor
    dynamics: Dynamics

    @cached_property
    def spikes(self) -> Tensor:
        if "_both" in vars(self):
            return self._both[1]
        return spikes_of(self.current, self.threshold, self.dynamics)

    @property
    def v_pre(self) -> Tensor:
        """Potentials before the reset."""
        return self._both[0]

    @cached_property
    def _both(self) -> tuple[Tensor, Tensor]:
        return _membrane(self.current, self.threshold, self.dynamics)


Rule = Callable[[Tensor, Firing], Tensor]
"""``rule(gradient of the spikes, firing) -> gradient of the current``, both ``[T, N, ...]``."""


def through_time(grad: Tensor, firing: Firing) -> Tensor:
    """The rule of `fused_lif`: back-propagation through time with the surrogate of the dynamics."""
    return _gradients(grad, firing)[0]


def _gradients(grad: Tensor, firing: Firing) -> tuple[Tensor, Tensor]:
    """Of the current ``[T, N, ...]``, and of the threshold at every neuron ``[N, ...]``."""
    threshold, dynamics = firing.threshold, firing.dynamics
    found = compiled.gradients(grad, firing.current, threshold, dynamics)
    if found is None:
        found = recursion(grad, firing.v_pre, firing.spikes, threshold, dynamics, lambda _, u: dynamics.surrogate(u))
    return found


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
        firing = Firing(current, threshold, ctx.dynamics)
        of_current, of_threshold = _gradients(grad, firing)
        leak = None
        if ctx.needs_input_grad[2]:
            leak = _leak_gradient(of_current, firing.v_pre, firing.spikes, threshold, ctx.dynamics)
        return of_current, of_threshold.sum_to_size(threshold.shape) if ctx.needs_input_grad[1] else None, leak, None


def fused_lif(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """`robustsnn.spiking.lif` by recomputation: same arguments, same spikes, same gradients, far less memory."""
    return _Lif.apply(current, threshold, dynamics.leak, dynamics)  # type: ignore[no-untyped-call, no-any-return]


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


@dataclass(frozen=True)
class Through:
    """The spikes of `fused_lif` with another gradient of the current, and none of threshold and leak."""

    rule: Rule

    def __call__(self, current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
        return _Through.apply(current, threshold, dynamics, self.rule)  # type: ignore[no-untyped-call, no-any-return]


def potentials(current: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """Potentials before the reset, ``[T, N, ...]``, without gradient."""
    return _membrane(current.detach(), threshold.detach(), dynamics)[0]
