"""Regularisers for any objective: ``Regularized(objective, regularizer, weight)``."""

import inspect
import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robustsnn.names import named
from robustsnn.ranges import NotNegative, Positive, Ranged
from robustsnn.spiking import Dynamics, SpikingNetwork, walk
from robustsnn.types import Images, Labels, Objective, Randomness


class Regularizer(Protocol):
    """A value called on network and batch that returns a scalar to minimise."""

    def __call__(self, net: nn.Module, x: Images, y: Labels) -> Tensor: ...


@dataclass(frozen=True)
class Regularized(Ranged):
    """An objective with a regulariser: ``objective + weight * regularizer``.

    Raises:
        ValueError: an argument is not an objective or not a regulariser.
    """

    objective: Objective
    regularizer: Regularizer
    weight: NotNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _takes(self.objective, "net", "x", "y", rng="rng") or not _takes(self.regularizer, "net", "x", "y"):
            raise ValueError(
                "Regularized(objective, regulariser, weight) needs its arguments in this order, as in "
                f"Regularized(Natural(), MembraneMargin(), 0.1), not {self.objective} and {self.regularizer}"
            )

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: Randomness) -> Tensor:
        loss = self.objective(net, x, y, rng=rng)
        return loss + self.weight * self.regularizer(net, x, y) if self.weight else loss


def _takes(called: Any, *args: str, **options: str) -> bool:
    """Return whether ``called`` accepts these arguments."""
    try:
        inspect.signature(called).bind(*args, **options)
    except TypeError:
        return False
    return True


@dataclass(frozen=True)
class SparseGradients(Ranged):
    """Sparsity of input gradients (SR, Liu et al. 2024): ``mean(((f(x + h d) - f(x)) / h)**2)``, ``d = sign(df/dx)``.

    ``f`` is the ratio of the probabilities of the true class and the runner-up, so the finite difference estimates the L1 norm
    of its gradient. It grows as exp(2 m) with the margin m of the logits and overflows float32 for m > 44.
    """

    h: Positive = 0.01

    def __call__(self, net: nn.Module, x: Images, y: Labels) -> Tensor:
        pixels = x.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(_ratio(net(pixels), y).sum(), pixels)
        moved = x + self.h * gradient.sign()
        return ((_ratio(net(moved), y) - _ratio(net(x), y)) / self.h).square().mean()


def _ratio(logits: Tensor, y: Tensor) -> Tensor:
    true = logits.gather(1, y[:, None])[:, 0]
    runner_up = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (true - runner_up).exp()


@dataclass(frozen=True)
class MembraneMargin(Ranged):
    """Keep potentials away from the threshold (TGO): mean of ``max(0, delta - |v - threshold|)``, averaged over layers."""

    delta: Positive = 0.5

    def __call__(self, net: nn.Module, x: Images, y: Labels) -> Tensor:
        distances = distances_to_threshold(net, x)
        return torch.stack([(self.delta - u.abs()).clamp(min=0).mean() for u in distances]).mean()


@dataclass(frozen=True)
class PotentialOverlap(Ranged):
    """Fraction of each layer's potentials inside the surrogate's window (MPD-SGR), assuming a normal distribution.

    For ``u = v - threshold`` with mean m and deviation s it is ``Phi((w/2 - m)/s) - Phi((-w/2 - m)/s)``, averaged over layers.
    A smaller fraction lets less gradient through to the input.
    """

    window: Positive = 1.0

    def __call__(self, net: nn.Module, x: Images, y: Labels) -> Tensor:
        shares = []
        for u in distances_to_threshold(net, x):
            mean, scale = u.mean(), u.std().clamp_min(1e-6) * math.sqrt(2)
            upper, lower = (self.window / 2 - mean) / scale, (-self.window / 2 - mean) / scale
            shares.append((upper.erf() - lower.erf()) / 2)
        return torch.stack(shares).mean()


def distances_to_threshold(net: nn.Module, x: Images) -> list[Tensor]:
    """Return ``v - threshold`` before the reset for every neuron layer, ``[T, N, ...]`` in firing order, differentiable.
    Raises ValueError if ``net`` is not a `SpikingNetwork`."""
    if not isinstance(net, SpikingNetwork):
        raise ValueError(f"membrane potentials need a SpikingNetwork, not {type(net).__name__}: use this in finetuning only")
    found: list[Tensor] = []

    def fire(current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor:
        course = walk(current, threshold, dynamics, **trained)
        found.append(dynamics.neuron.distances(torch.stack(course.potentials), {"threshold": threshold, **trained}))
        return torch.stack(course.spikes)

    net.firing(fire)(x)
    return found


REGULARIZERS: dict[str, type[Regularizer]] = named(SparseGradients, MembraneMargin, PotentialOverlap)
