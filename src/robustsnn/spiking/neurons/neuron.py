"""The interface of neurons: three equations in plain torch, combined by `Neuron.step`. `Neuron.walk` is the reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
"""A layer's ``threshold``, which broadcasts to its neurons ``[N, ...]``, and the other trained tensors, by name."""

Spike = Callable[[Tensor], tuple[Tensor, Tensor]]
"""``fire(u) -> fired, felt``: 1 where ``u >= 0``, else 0, and the same value for the reset, possibly without gradient."""

Derivative = Callable[[int, Tensor], Tensor]
"""``derivative(t, u)``: the derivative of a spike at step ``t`` for a potential ``u`` above the threshold."""

Seen = Callable[[], tuple[Any, Any]]
"""Returns the potentials before the reset and the spikes, ``[T, N, ...]``, for functions that can reuse them."""


@dataclass(frozen=True)
class Course:
    """Result of `Neuron.walk`: potentials before the reset and spikes of every step, and the final potential."""

    potentials: list[Tensor]
    spikes: list[Tensor]
    left: Tensor


@dataclass(frozen=True)
class Relayed:
    """A neuron in the terms of other simulators: ``v <- leak * v + current``, one spike at the threshold, and the reset."""

    leak: float
    reset: Literal["zero", "subtract"]
    start: float


class Neuron(ABC):
    """How currents become spikes. A neuron model is a frozen dataclass that defines `reset_by`, and those of `begin`,
    `charge`, `distances` and `emitted` that differ from a leaky potential with one threshold and one spike.

    All methods are pure functions on ``[N, ...]`` or more leading dimensions. A neuron with S state variables keeps them in
    the last dimension of its potential, ``[N, ..., S]``. Raises ValueError if ``leak`` is outside ``(0, 1]`` or ``start``
    outside ``[0, 1)``.
    """

    leak: float = 1.0
    start: float = 0.0

    def __post_init__(self) -> None:
        leak: Any = self.leak
        if not isinstance(leak, int | float) or not 0 < leak <= 1:
            raise ValueError(f"leak must be a number in (0, 1], not {leak}; 1 is integrate-and-fire")
        if not 0 <= self.start < 1:
            raise ValueError(f"start, the initial potential in units of the threshold, must be in [0, 1), not {self.start}")

    @property
    def trained(self) -> dict[str, float]:
        """Initial values of the tensors that every layer trains besides its threshold, by field name."""
        return {}

    def kept(self, tensors: Tensors) -> float | Tensor:
        """Return the leak."""
        return self.leak

    def begin(self, current: Tensor, tensors: Tensors) -> Tensor:
        """Return the potential before the first step, in the shape of ``current [N, ...]``."""
        return torch.zeros_like(current) + self.start * tensors["threshold"]

    def charge(self, left: Tensor, current: Tensor, tensors: Tensors) -> Tensor:
        """Return the potential before the reset: the current plus a term that is 0 if the previous potential ``left`` is 0."""
        return self.kept(tensors) * left + current

    def distances(self, potential: Tensor, tensors: Tensors) -> Tensor:
        """Return the distance of the potential above the threshold, ``[..., K]`` for K thresholds."""
        return potential - tensors["threshold"]

    def emitted(self, fired: Tensor) -> Tensor:
        """Return the spikes of a step from what fired at each threshold."""
        return fired

    @abstractmethod
    def reset_by(self, potential: Tensor, spikes: Tensor, tensors: Tensors) -> Tensor:
        """Return the potential after the reset."""

    def step(self, left: Tensor, current: Tensor, tensors: Tensors, fire: Spike) -> tuple[Tensor, Tensor, Tensor]:
        """Run one time step: return the potential after the reset, the spikes, and the potential before the reset."""
        potential = self.charge(left, current, tensors)
        fired, felt = fire(self.distances(potential, tensors))
        return self.reset_by(potential, self.emitted(felt), tensors), self.emitted(fired), potential

    def walk(
        self, current: Tensor, tensors: Tensors, derivative: Derivative = lambda t, u: u, detach_reset: bool = False
    ) -> Course:
        """Run all steps of ``current [T, N, ...]`` in order; differentiable if a derivative is given."""
        left = self.begin(current[0], tensors)
        potentials, spikes = [], []
        for t, given in enumerate(current):

            def fire(u: Tensor, t: int = t) -> tuple[Tensor, Tensor]:
                fired: Tensor = Spiked.apply(u, _heaviside, lambda u: derivative(t, u))  # type: ignore[no-untyped-call]
                return fired, fired.detach() if detach_reset else fired

            left, emitted, potential = self.step(left, given, tensors, fire)
            potentials.append(potential)
            spikes.append(emitted)
        return Course(potentials, spikes, left)

    def relayed(self, tensors: Tensors) -> Relayed:
        """Return the neuron in the terms of other simulators. Raises ValueError if they have no such neuron."""
        raise ValueError(
            f"{self} emits spikes other than 0 and 1, which NIR cannot express: use LIF() or PLIF(), or export as onnx"
        )

    # Subclasses may override the following methods with faster ones; tests compare them with the methods above.

    def fast(self, current: Tensor, tensors: Tensors, potentials: Tensor | None = None) -> Tensor:
        """Return the spikes ``[T, N, ...]`` without gradient; write the potentials before the reset to ``potentials``."""
        with torch.no_grad():
            course = self.walk(current, tensors)
            if potentials is not None:
                torch.stack(course.potentials, out=potentials.resize_(0))  # may have several state variables
            return torch.stack(course.spikes)

    def slope(self, current: Tensor, tensors: Tensors, derivative: Callable[[Tensor], Tensor], seen: Seen) -> Tensor:
        """Return the derivative of the spikes ``[T, N, ...]`` with respect to the current of the same step, all else fixed."""

        def fire(u: Tensor) -> tuple[Tensor, Tensor]:
            fired: Tensor = Spiked.apply(u, _heaviside, derivative)  # type: ignore[no-untyped-call]
            return fired, fired.detach()

        left, slopes = self.begin(current[0], tensors), []
        for given in current:
            with torch.enable_grad():
                moved = given.detach().requires_grad_()
                left, emitted, _ = self.step(left.detach(), moved, tensors, fire)
                slopes += torch.autograd.grad(emitted.sum(), moved)
        return torch.stack(slopes)

    by_hand = False
    """Whether `gradients` is hand-written and so can be compiled; otherwise it uses autograd through `walk`."""

    def gradients(
        self, grad: Tensor, current: Tensor, tensors: Tensors, derivative: Derivative, detach_reset: bool, seen: Seen
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradients of the current ``[T, N, ...]`` and of the tensors, summed or per neuron ``[N, ...]``, for the
        gradient ``grad [T, N, ...]`` of the spikes."""
        with torch.enable_grad():
            given = current.detach().requires_grad_()
            own = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
            spikes = torch.stack(self.walk(given, own, derivative, detach_reset).spikes)
            found = torch.autograd.grad(spikes, [given, *own.values()], grad, allow_unused=True, materialize_grads=True)
        return found[0], dict(zip(own, found[1:], strict=True))


class Spiked(torch.autograd.Function):
    """``own(u)`` with a chosen derivative."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, own: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(u)
        ctx.derivative = derivative
        return own(u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grad * ctx.derivative(u), None, None


def _heaviside(u: Tensor) -> Tensor:
    return (u >= 0).to(u.dtype)
