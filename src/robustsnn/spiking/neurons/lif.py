"""Leaky integrate-and-fire neurons with a fixed or trained leak, and their hand-written gradients (method, section 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from robustsnn.spiking.neurons.neuron import Derivative, Neuron, Relayed, Seen, Tensors

Reset = Literal["zero", "subtract"]


@dataclass(frozen=True)
class LIF(Neuron):
    """Leaky integrate-and-fire neurons.

        v_pre[t] = leak * v[t-1] + current[t]              v[-1] = start * threshold
        s[t]     = 1 if v_pre[t] >= threshold else 0
        v[t]     = (1 - s[t]) * v_pre[t]                   reset "zero"
        v[t]     = v_pre[t] - s[t] * threshold             reset "subtract"

    Arguments:
        leak: fraction of the potential kept from one step to the next, in ``(0, 1]``; 1 is integrate-and-fire.
        reset: a spike sets the potential to ``"zero"``, or subtracts the threshold (``"subtract"``).
        start: potential before the first step, in units of the threshold, in ``[0, 1)``; 0.5 rounds instead of flooring.

    Raises:
        ValueError: a value is out of range.
    """

    leak: float = 1.0
    reset: Reset = "zero"
    start: float = 0.0

    by_hand = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reset not in get_args(Reset):
            raise ValueError(f"reset must be 'zero' or 'subtract', not {self.reset!r}")

    def reset_by(self, potential: Tensor, spikes: Tensor, tensors: Tensors) -> Tensor:
        return (1 - spikes) * potential if self.reset == "zero" else potential - spikes * tensors["threshold"]

    def relayed(self, tensors: Tensors) -> Relayed:
        kept = torch.as_tensor(self.kept(tensors), dtype=tensors["threshold"].dtype).detach()
        return Relayed(float(kept), self.reset, self.start)

    def fast(self, current: Tensor, tensors: Tensors, potentials: Tensor | None = None) -> Tensor:
        """Return the spikes, updating one potential in place."""
        threshold, leak = tensors["threshold"], self.kept(tensors)
        if threshold.dim():  # a scalar needs no broadcasting
            current = current.expand(len(current), *torch.broadcast_shapes(current.shape[1:], threshold.shape))
        v, spikes = torch.zeros_like(current[0]), torch.empty_like(current)
        if self.start:
            v += self.start * threshold
        for t, step in enumerate(current):
            if isinstance(leak, Tensor) or leak != 1:
                v *= leak
            v += step
            if potentials is not None:
                potentials[t] = v
            torch.ge(v, threshold, out=spikes[t])
            v.addcmul_(v if self.reset == "zero" else threshold, spikes[t], value=-1)
        return spikes

    def slope(self, current: Tensor, tensors: Tensors, derivative: Callable[[Tensor], Tensor], seen: Seen) -> Tensor:
        return derivative(seen()[0] - tensors["threshold"])

    def gradients(
        self, grad: Tensor, current: Tensor, tensors: Tensors, derivative: Derivative, detach_reset: bool, seen: Seen
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Back-propagate through time by hand-written equations."""
        potentials, spikes = seen()
        threshold, zero = tensors["threshold"], self.reset == "zero"
        grad_current: list[Tensor] = []
        grad_threshold = torch.zeros_like(grad[0])
        grad_leak = torch.zeros_like(grad[0]) if self.trained else None
        a = torch.zeros_like(grad[0])  # dL/dv[t], the potential after the reset
        for t in range(len(grad) - 1, -1, -1):
            lost = potentials[t] if zero else threshold  # how much a spike lowers the potential
            upstream = grad[t] if detach_reset else grad[t] - a * lost
            sigma = derivative(t, potentials[t] - threshold) * upstream
            grad_threshold = grad_threshold - sigma
            if zero:
                a = a - a * spikes[t]
            else:
                grad_threshold = grad_threshold - a * spikes[t]
            grad_current.append(a + sigma)
            if grad_leak is not None:
                left = self.reset_by(potentials[t - 1], spikes[t - 1], tensors) if t else self.start * threshold
                grad_leak = grad_leak + grad_current[-1] * left
            a = self.kept(tensors) * grad_current[-1]
        if self.start:
            grad_threshold = grad_threshold + self.start * a
        of_leak = {} if grad_leak is None else {"leak": grad_leak}
        return torch.stack(grad_current[::-1]), {"threshold": grad_threshold, **of_leak}


@dataclass(frozen=True)
class PLIF(LIF):
    """`LIF` with a trained leak per layer, initialised to ``leak`` (parametric LIF, Fang et al. 2021)."""

    @property
    def trained(self) -> dict[str, float]:
        return {"leak": self.leak}

    def kept(self, tensors: Tensors) -> float | Tensor:
        return tensors["leak"]
