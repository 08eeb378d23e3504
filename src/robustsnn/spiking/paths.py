"""Gradient paths: how a gradient gets through the spikes. A path is a value; called on a network it returns a view.

Every path but `Analog` leaves the forward pass exactly as it is. Through a `ForeignNetwork`, whose neurons another library
wrote, lead those that need no more of a neuron than its current, its spikes, or how far it is above the threshold: `FOREIGN`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustsnn.compute import rewire, view
from robustsnn.compute.sums import running_sum
from robustsnn.spiking.adaptive import Adaptive
from robustsnn.spiking.foreign import Around, ForeignNetwork, Masked, Spike, surrogate
from robustsnn.spiking.kernels import Firing, Through, fused_lif
from robustsnn.spiking.network import Neuron, SpikingNetwork, spiking_only
from robustsnn.spiking.neuron import recursion
from robustsnn.spiking.surrogate import SurrogateDerivative, Triangle
from robustsnn.types import GradientPath


@dataclass(frozen=True)
class Plain:
    """Back-propagation as the network itself defines it: the one path of an ANN."""

    def __call__(self, net: nn.Module) -> nn.Module:
        return view(net)


@dataclass(frozen=True)
class Surrogate:
    """Back-propagation through time with a surrogate derivative of one's choice, optionally not through the reset.

    Raises:
        ValueError: ``derivative`` is no function of ``u``.
    """

    derivative: SurrogateDerivative = field(default_factory=Triangle)
    detach_reset: bool = False

    def __post_init__(self) -> None:
        _is_derivative(self.derivative)

    def __str__(self) -> str:
        return f"{self.derivative}{', detached reset' if self.detach_reset else ''}"

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.spiking(lambda _, own: surrogate(own, self.derivative), detach_reset=self.detach_reset)
        net = spiking_only(self, net)
        return net.firing(fused_lif, replace(net.dynamics, surrogate=self.derivative, detach_reset=self.detach_reset))


@dataclass(frozen=True)
class Scaled:
    """`Surrogate` with the threshold as the unit of potentials: the derivative is ``g(u / threshold) / threshold``.

    A network computes the same if a layer's threshold, and all that flows into it, are multiplied by ``c > 0``; along this
    path its gradient stays the same too, whatever surrogates of a fixed width make of it.

    Raises:
        ValueError: ``derivative`` is not a function of ``u``.
    """

    derivative: SurrogateDerivative = field(default_factory=Triangle)

    def __post_init__(self) -> None:
        _is_derivative(self.derivative)

    def __str__(self) -> str:
        return f"{self.derivative} of the threshold"

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        return spiking_only(self, net).firing(Through(self._rule))

    def _rule(self, grad: Tensor, firing: Firing) -> Tensor:
        unit = firing.threshold.abs().clamp_min(torch.finfo(grad.dtype).tiny)

        def derivative(_: int, u: Tensor) -> Tensor:
            return self.derivative(u / unit) / unit

        return recursion(grad, firing.v_pre, firing.spikes, firing.threshold, firing.dynamics, derivative)[0]


def _is_derivative(derivative: object) -> None:
    if not callable(derivative) or isinstance(derivative, type):
        raise ValueError(f"the derivative of a path must be one such as Triangle(0.5), not {derivative!r}")


@dataclass(frozen=True)
class Rate:
    """Back-propagation through rates ("BPTR"): the gradient passes where a neuron fired at least once."""

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.around(_where_it_fired)
        return spiking_only(self, net).firing(Through(self._rule))

    @staticmethod
    def _rule(grad: Tensor, firing: Firing) -> Tensor:
        return grad * firing.spikes.amax(0)


def _where_it_fired() -> Around:
    """`Rate` around one layer of neurons, which may be asked once for all steps or step by step."""
    fired: list[Tensor] = []

    def around(current: Tensor, spikes: Tensor) -> Tensor:
        fired.append((spikes != 0).any(0))
        return Masked.apply(current, spikes, lambda: torch.stack(fired).any(0))  # type: ignore[no-untyped-call, no-any-return]

    return around


@dataclass(frozen=True)
class RateApproximation:
    """Rate gradient approximation (RGA; Bu et al. 2023): the firing rate as a function of the mean current.

    With ``a = mean_t I / threshold`` and leak ``l`` the gradient, averaged over time, is multiplied by 0.2 for
    ``0 <= a <= 1 - l``, by ``(1 - 0.2 (1 - l)) / (l + 1)`` for ``1 - l < a <= 2``, and else by 0.
    """

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        return spiking_only(self, net).firing(Through(self._rule))

    @staticmethod
    def _rule(grad: Tensor, firing: Firing) -> Tensor:
        a, leak = firing.current.mean(0) / firing.threshold, firing.dynamics.leak
        low = ((a >= 0) & (a <= 1 - leak)).to(grad.dtype) * 0.2
        high = ((a > 1 - leak) & (a <= 2)).to(grad.dtype) * ((1 - 0.2 * (1 - leak)) / (leak + 1))
        return (grad.mean(0) * (low + high)).expand_as(grad)


@dataclass(frozen=True)
class Hybrid:
    """Hybrid adversarial attack with rate-averaged gradients (HART): surrogate times gradient, averaged over time at the
    current of every neuron, and nothing through the potential from step to step.

    Raises:
        ValueError: a ``width`` that is not above 0.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        Triangle(self.width)

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        surrogate = Triangle(self.width)

        def rule(grad: Tensor, firing: Firing) -> Tensor:
            return (grad * surrogate(firing.v_pre - firing.threshold)).mean(0).expand_as(grad)

        return spiking_only(self, net).firing(Through(rule))


@dataclass(frozen=True)
class PotentialDependent:
    """Back-propagation through time with a surrogate as wide as the potentials are spread (PDSG).

    ``g(u) = exp(-(u - s/2)^2 / (2 s^2)) / (sqrt(2 pi) s)``, where s is the standard deviation of the potentials of all steps
    so far, over the positions of a channel (or all neurons of a linear layer); 0 becomes 1. It is taken image by image, so
    that an image's result does not depend on those it is attacked with.
    """

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.spiking(lambda _, own: self._step_by_step(own))
        return spiking_only(self, net).firing(Through(self._rule))

    @classmethod
    def _step_by_step(cls, own: Spike) -> Spike:
        """Distances to the threshold are spread like the potentials."""
        sums: list[Tensor] = []

        def spike(u: Tensor) -> Tensor:
            moments = torch.stack([x.mean(tuple(range(2, u.dim())) or (1,), keepdim=True) for x in (u, u.square())]).detach()
            sums.append(moments + sums[-1] if sums else moments)
            mean, square = sums[-1] / len(sums)
            s = cls._spread(mean, square)
            return surrogate(own, lambda u: cls._bell(u, s))(u)

        return spike

    @staticmethod
    def _rule(grad: Tensor, firing: Firing) -> Tensor:
        v = firing.v_pre
        space = tuple(range(3, v.dim())) or (2,)
        count = torch.arange(1, len(v) + 1, dtype=v.dtype, device=v.device).view(-1, *[1] * (v.dim() - 1))
        mean, square = (running_sum(x.mean(space, keepdim=True), 0) / count for x in (v, v.square()))
        spread = PotentialDependent._spread(mean, square)

        def derivative(t: int, u: Tensor) -> Tensor:
            return PotentialDependent._bell(u, spread[t])

        return recursion(grad, v, firing.spikes, firing.threshold, firing.dynamics, derivative)[0]

    @staticmethod
    def _spread(mean: Tensor, square: Tensor) -> Tensor:
        spread = (square - mean.square()).clamp(min=0).sqrt()
        return torch.where(spread < 1e-6, 1.0, spread)

    @staticmethod
    def _bell(u: Tensor, s: Tensor) -> Tensor:
        return torch.exp(-((u - s / 2) ** 2) / (2 * s**2)) / (math.sqrt(2 * math.pi) * s)


@dataclass(frozen=True)
class Analog:
    """ReLU in every slot and no time ("activation"): the ANN with the network's present weights."""

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.around(lambda: lambda current, _: current.relu(), timesteps=1)
        return rewire(spiking_only(self, net).body, lambda _, module: _relu(module) if isinstance(module, Neuron) else None)


def _relu(neuron: Neuron) -> nn.Module:
    return nn.ReLU().train(neuron.training)


FOREIGN = (Plain, Surrogate, Rate, PotentialDependent, Analog, Adaptive)
"""Paths that lead through networks of other libraries."""

PATHS: dict[str, Callable[..., GradientPath]] = {
    "Surrogate": Surrogate,
    "Scaled": Scaled,
    "Rate": Rate,
    "Analog": Analog,
    "RateApproximation": RateApproximation,
    "Hybrid": Hybrid,
    "PotentialDependent": PotentialDependent,
    "Adaptive": Adaptive,
    "Plain": Plain,
}
"""Gradient paths by name."""
