"""Fused neurons: the forward pass saves only its input, and the backward pass recomputes the potentials.

`unrolled` in `dynamics` is the reference; tests compare the two for every neuron, surrogate, reset and leak. Large layers run
as machine code (`compiled`), others step by step, with the same spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from robustsnn.spiking import compiled
from robustsnn.spiking.dynamics import Dynamics
from robustsnn.spiking.neurons import Derivative, Tensors


@dataclass(frozen=True)
class Firing:
    """A layer's forward pass as a backward rule sees it; everything but the layer's tensors is ``[T, N, ...]``."""

    current: Tensor
    tensors: Tensors
    dynamics: Dynamics

    @property
    def threshold(self) -> Tensor:
        return self.tensors["threshold"]

    @cached_property
    def spikes(self) -> Tensor:
        if "_both" in vars(self):
            return self._both[1]
        found = compiled.spikes(self.current, self.tensors, self.dynamics)
        return self.dynamics.neuron.fast(self.current, self.tensors) if found is None else found

    @property
    def v_pre(self) -> Tensor:
        """Potentials before the reset, ``[T, N, ..., S]`` for neurons with several state variables."""
        return self._both[0]

    @property
    def distances(self) -> Tensor:
        """Distances above the threshold, ``[T, N, ..., K]`` for neurons with K thresholds."""
        return self.dynamics.neuron.distances(self.v_pre, self.tensors)

    @cached_property
    def _both(self) -> tuple[Tensor, Tensor]:
        found = compiled.membrane(self.current, self.tensors, self.dynamics)
        if found is not None:
            return found
        v_pre = torch.empty_like(self.current)
        return v_pre, self.dynamics.neuron.fast(self.current, self.tensors, v_pre)

    def back(self, grad: Tensor, derivative: compiled.Shaped, shape: Tensor) -> Tensor:
        """Return the gradient of the current by back-propagation through time with the surrogate
        ``derivative(u, shape[t])``; ``shape [T, N, ...]`` broadcasts to the distances."""
        found = compiled.along(grad, self.current, self.tensors, self.dynamics, derivative, shape)
        return self._gradients(grad, lambda t, u: derivative(u, shape[t]))[0] if found is None else found

    def slope(self, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the derivative of the spikes with respect to the current of the same step."""
        return self.dynamics.neuron.slope(self.current, self.tensors, derivative, lambda: self._both)

    def gradients(self, grad: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradients of the current and of the tensors, per neuron ``[N, ...]``, with the dynamics' surrogate."""
        found = compiled.gradients(grad, self.current, self.tensors, self.dynamics)
        if found is not None:
            return found
        return self._gradients(grad, self.dynamics.derivative(self.tensors, self.current.dim() - 1))

    def _gradients(self, grad: Tensor, derivative: Derivative) -> tuple[Tensor, dict[str, Tensor]]:
        dynamics, seen = self.dynamics, lambda: (self.v_pre, self.spikes)
        return dynamics.neuron.gradients(grad, self.current, self.tensors, derivative, dynamics.detach_reset, seen)


Rule = Callable[[Tensor, Firing], Tensor]
"""``rule(gradient of the spikes, firing) -> gradient of the current``, both ``[T, N, ...]``."""


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, dynamics: Dynamics, rule: Rule | None, names: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(current, *tensors)
        ctx.dynamics, ctx.rule, ctx.names = dynamics, rule, names
        return Firing(current, dict(zip(names, tensors, strict=True)), dynamics).spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        current, *tensors = ctx.saved_tensors
        firing = Firing(current, dict(zip(ctx.names, tensors, strict=True)), ctx.dynamics)
        if ctx.rule is not None:
            return ctx.rule(grad, firing), None, None, None, *([None] * len(tensors))
        of_current, found = firing.gradients(grad)
        needed = zip(ctx.names, tensors, ctx.needs_input_grad[4:], strict=True)
        return of_current, None, None, None, *(found[name].sum_to_size(x.shape) if need else None for name, x, need in needed)


@dataclass(frozen=True)
class Through:
    """`fused`; with a rule, the rule gives the gradient of the current, and threshold and other tensors get none."""

    rule: Rule | None = None

    def __call__(self, current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor:
        names = ("threshold", *trained)
        return _Fused.apply(current, dynamics, self.rule, names, threshold, *trained.values())  # type: ignore[no-untyped-call, no-any-return]


fused = Through()
"""`unrolled` with recomputation: same arguments, spikes and gradients, far less memory."""
