"""The neuron in equations: leaky integrate-and-fire with constant-height spikes, in plain torch. This is the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from robustsnn.spiking.surrogate import SurrogateDerivative, Triangle

Reset = Literal["zero", "subtract"]


@dataclass(frozen=True)
class Dynamics:
    """How neurons run in time.

    Arguments:
        timesteps: ``T >= 1``.
        leak: what is kept of the potential from one step to the next, in ``(0, 1]``; 1 is integrate-and-fire.
        reset: after a spike the potential becomes ``"zero"`` or loses the threshold (``"subtract"``).
        detach_reset: no gradient through the reset.
        surrogate: the derivative that stands for that of a spike.
        start: potential before the first step, in units of the threshold, in ``[0, 1)``; 0.5 rounds instead of flooring.
        train_leak: every layer's leak is a trained parameter that begins at ``leak``.

    Raises:
        ValueError: a value outside its range.
    """

    timesteps: int = 8
    leak: float | Tensor = 1.0
    reset: Reset = "zero"
    detach_reset: bool = False
    surrogate: SurrogateDerivative = Triangle(1.0)
    start: float = 0.0
    train_leak: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.timesteps, bool) or not isinstance(self.timesteps, int) or self.timesteps < 1:
            raise ValueError(f"timesteps must be a whole number of at least 1, not {self.timesteps!r}")
        # a tensor only inside a layer whose leak is trained
        leak = float(self.leak.detach()) if isinstance(self.leak, Tensor) else self.leak
        if not (math.isfinite(leak) and 0 < leak <= 1):
            raise ValueError(f"leak must be in (0, 1], not {leak}; 1 is integrate-and-fire")
        if self.reset not in ("zero", "subtract"):
            raise ValueError(f"reset must be 'zero' or 'subtract', not {self.reset!r}")
        if not 0 <= self.start < 1:
            raise ValueError(f"start is the first potential in units of the threshold, in [0, 1), not {self.start}")
        if not callable(self.surrogate):
            raise ValueError(f"surrogate must be a value such as Triangle(1.0), not {self.surrogate!r}")


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: SurrogateDerivative) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return grad * ctx.surrogate(u), None


def walk(current: Tensor, threshold: Tensor | float, dynamics: Dynamics) -> tuple[list[Tensor], list[Tensor]]:
    """Potentials before the reset, and spikes, of the neurons that `lif` defines, step by step, ``[N, ...]`` each."""
    v = torch.zeros_like(current[0]) + dynamics.start * threshold
    potentials, spikes = [], []
    for step in current:
        v = dynamics.leak * v + step
        s: Tensor = _Spike.apply(v - threshold, dynamics.surrogate)  # type: ignore[no-untyped-call]
        potentials.append(v)
        spikes.append(s)
        fired = s.detach() if dynamics.detach_reset else s
        v = (1 - fired) * v if dynamics.reset == "zero" else v - fired * threshold
    return potentials, spikes


def membrane(current: Tensor, threshold: Tensor | float, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    """What `walk` gives as tensors ``[T, N, ...]``, differentiable."""
    potentials, spikes = walk(current, threshold, dynamics)
    return torch.stack(potentials), torch.stack(spikes)


def lif(current: Tensor, threshold: Tensor | float, dynamics: Dynamics) -> Tensor:
    """Spikes of leaky integrate-and-fire neurons, by autograd through every step.

        v_pre[t] = leak * v[t-1] + current[t]              v[-1] = start * threshold
        s[t]     = 1 if v_pre[t] >= threshold else 0
        v[t]     = (1 - s[t]) * v_pre[t]                   reset "zero"
        v[t]     = v_pre[t] - s[t] * threshold             reset "subtract"

    Arguments:
        current: ``[T, N, ...]``.
        threshold: a scalar, or anything that broadcasts to ``[N, ...]``.
        dynamics: leak, reset and surrogate; the number of steps is that of ``current``.

    Returns:
        Spikes of height 1, ``[T, N, ...]``.

    >>> lif(torch.tensor([[0.6], [0.6], [0.6]]), 1.0, Dynamics()).flatten()
    tensor([0., 1., 0.])
    """
    return membrane(current, threshold, dynamics)[1]


Derivative = Callable[[int, Tensor], Tensor]
"""``derivative(t, u)``: the derivative of a spike at step ``t``, where the potential is ``u`` above the threshold."""


def recursion(
    grad: Tensor,
    v_pre: Sequence[Tensor] | Tensor,
    spikes: Sequence[Tensor] | Tensor,
    threshold: Tensor,
    dynamics: Dynamics,
    derivative: Derivative,
) -> tuple[Tensor, Tensor]:
    """Back-propagation through time by hand: gradients of the current ``[T, N, ...]`` and of the threshold at every neuron.

    Arguments:
        grad: the gradient of the spikes, ``[T, N, ...]``.
        v_pre, spikes: what `walk` found, by time step.
    """
    grad_current: list[Tensor] = []
    grad_threshold = torch.zeros_like(grad[0])
    a = torch.zeros_like(grad[0])  # dL/dv[t], the potential after the reset
    for t in range(len(grad) - 1, -1, -1):
        lost = v_pre[t] if dynamics.reset == "zero" else threshold  # what a spike takes from the potential
        upstream = grad[t] if dynamics.detach_reset else grad[t] - a * lost
        sigma = derivative(t, v_pre[t] - threshold) * upstream
        grad_threshold = grad_threshold - sigma
        if dynamics.reset == "zero":
            a = a - a * spikes[t]
        else:
            grad_threshold = grad_threshold - a * spikes[t]
        grad_current.append(a + sigma)
        a = dynamics.leak * grad_current[-1]
    if dynamics.start:
        grad_threshold = grad_threshold + dynamics.start * a
    return torch.stack(grad_current[::-1]), grad_threshold
