"""What a neuron is: three equations, which `Neuron.step` puts together, in plain torch. Walking through them is the oracle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
"""A layer's ``threshold``, which broadcasts to its neurons ``[N, ...]``, and what else its neuron trains, by name."""

Spike = Callable[[Tensor], tuple[Tensor, Tensor]]
"""``fire(u) -> fired, felt``: 1 where ``u >= 0``, else 0, and the same as the reset feels it, maybe without gradient."""

Derivative = Callable[[int, Tensor], Tensor]
"""``derivative(t, u)``: the derivative of a spike at step ``t``, where the potential is ``u`` above the threshold."""

Seen = Callable[[], tuple[Any, Any]]
"""Gives the potentials before the reset and the spikes, ``[T, N, ...]``, to whom they spare work."""


@dataclass(frozen=True)
class Course:
    """What `Neuron.walk` meets, step by step: potentials before the reset, spikes, and the potential that is left."""

    potentials: list[Tensor]
    spikes: list[Tensor]
    left: Tensor


@dataclass(frozen=True)
class Relayed:
    """A neuron as other simulators know it: ``v <- leak * v + current``, one spike at the threshold, and the reset."""

    leak: float
    reset: Literal["zero", "subtract"]
    start: float


class Neuron(ABC):
    """How currents become spikes. A kind of neuron is a frozen dataclass that says `reset_by`, and what differs from one
    threshold, one spike and a leaking potential: `begin`, `charge`, `distances`, `emitted`.

    All act on ``[N, ...]``, or on more leading dimensions, and on nothing but their arguments. A neuron of several variables
    holds them on a last dimension of what is called its potential, ``[N, ..., S]``. Raises ValueError: a ``leak`` outside
    ``(0, 1]`` or a ``start`` outside ``[0, 1)``.
    """

    leak: float = 1.0
    start: float = 0.0

    def __post_init__(self) -> None:
        leak: Any = self.leak
        if not isinstance(leak, int | float) or not 0 < leak <= 1:
            raise ValueError(f"leak must be a number in (0, 1], not {leak}; 1 is integrate-and-fire")
        if not 0 <= self.start < 1:
            raise ValueError(f"start is the first potential in units of the threshold, in [0, 1), not {self.start}")

    @property
    def trained(self) -> dict[str, float]:
        """What every layer trains besides its threshold, by the name of a field, and what it begins at."""
        return {}

    def kept(self, tensors: Tensors) -> float | Tensor:
        """The leak."""
        return self.leak

    def begin(self, current: Tensor, tensors: Tensors) -> Tensor:
        """The potential before the first step, of the shape of ``current [N, ...]``."""
        return torch.zeros_like(current) + self.start * tensors["threshold"]

    def charge(self, left: Tensor, current: Tensor, tensors: Tensors) -> Tensor:
        """The potential before the reset; what was left adds to the current, and nothing left adds nothing."""
        return self.kept(tensors) * left + current

    def distances(self, potential: Tensor, tensors: Tensors) -> Tensor:
        """How far the potential is above the threshold, ``[..., K]`` where a neuron has K of them."""
        return potential - tensors["threshold"]

    def emitted(self, fired: Tensor) -> Tensor:
        """The spikes of a step, of what fired at each threshold."""
        return fired

    @abstractmethod
    def reset_by(self, potential: Tensor, spikes: Tensor, tensors: Tensors) -> Tensor:
        """The potential that spikes leave."""

    def step(self, left: Tensor, current: Tensor, tensors: Tensors, fire: Spike) -> tuple[Tensor, Tensor, Tensor]:
        """One time step: what is left of the potential, the spikes, and the potential before the reset."""
        potential = self.charge(left, current, tensors)
        fired, felt = fire(self.distances(potential, tensors))
        return self.reset_by(potential, self.emitted(felt), tensors), self.emitted(fired), potential

    def walk(
        self, current: Tensor, tensors: Tensors, derivative: Derivative = lambda t, u: u, detach_reset: bool = False
    ) -> Course:
        """All steps of ``current [T, N, ...]`` one after the other; differentiable where a derivative is given."""
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
        """What it is to other simulators. Raises ValueError: they have no such neuron."""
        raise ValueError(
            f"{self} emits other spikes than 0 and 1, and neurons of NIR do not: use LIF() or PLIF(), or export as onnx"
        )

    # What follows may be written by hand, to be faster; tests hold it equal to the above.

    def fast(self, current: Tensor, tensors: Tensors, potentials: Tensor | None = None) -> Tensor:
        """Spikes ``[T, N, ...]`` without gradient; ``potentials`` receives those before the reset."""
        with torch.no_grad():
            course = self.walk(current, tensors)
            if potentials is not None:
                torch.stack(course.potentials, out=potentials.resize_(0))  # they may hold several variables
            return torch.stack(course.spikes)

    def slope(self, current: Tensor, tensors: Tensors, derivative: Callable[[Tensor], Tensor], seen: Seen) -> Tensor:
        """The derivative of the spikes by the current of the same step, nothing else being moved, ``[T, N, ...]``."""

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
    """Whether `gradients` is written by hand, and so can be compiled; else it is autograd through `walk`."""

    def gradients(
        self, grad: Tensor, current: Tensor, tensors: Tensors, derivative: Derivative, detach_reset: bool, seen: Seen
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of the current ``[T, N, ...]`` and of the tensors, these summed or at every neuron ``[N, ...]``, from that
        of the spikes ``[T, N, ...]``."""
        with torch.enable_grad():
            given = current.detach().requires_grad_()
            own = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
            spikes = torch.stack(self.walk(given, own, derivative, detach_reset).spikes)
            found = torch.autograd.grad(spikes, [given, *own.values()], grad, allow_unused=True, materialize_grads=True)
        return found[0], dict(zip(own, found[1:], strict=True))


class Spiked(torch.autograd.Function):
    """``own(u)`` with a derivative of one's choice."""

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
