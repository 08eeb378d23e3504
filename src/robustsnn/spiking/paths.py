"""Gradient paths: how a gradient gets through the spikes. A path is a value; calling it on a network returns a view.

Every path but `Analog` leaves the forward pass unchanged. Paths with ``foreign = True`` also work on a `ForeignNetwork`: they
need only a neuron's current, its spikes, or its distance above the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.spiking.adaptive import Adaptive, PotentialDependent
from robustsnn.spiking.foreign import Around, ForeignNetwork, surrogate
from robustsnn.spiking.kernels import Firing, Through, fused
from robustsnn.spiking.network import SpikingNetwork, spiking_only
from robustsnn.spiking.neurons import LIF, Neuron
from robustsnn.spiking.surrogate import SurrogateDerivative, Triangle
from robustsnn.types import GradientPath


@dataclass(frozen=True)
class Plain:
    """The network's own back-propagation; the only path of an ANN."""

    foreign: ClassVar[bool] = True

    def __call__(self, net: nn.Module) -> nn.Module:
        return view(net)


@dataclass(frozen=True)
class Surrogate:
    """Back-propagation through time with a chosen surrogate derivative, optionally without the gradient of the reset.

    Raises ValueError if ``derivative`` is not a function of ``u``.
    """

    foreign: ClassVar[bool] = True

    derivative: SurrogateDerivative = Triangle()
    detach_reset: bool = False

    def __post_init__(self) -> None:
        _is_derivative(self.derivative)

    def __str__(self) -> str:
        return f"{self.derivative}{', detached reset' if self.detach_reset else ''}"

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.spiking(lambda _, own: surrogate(own, self.derivative), detach_reset=self.detach_reset)
        net = spiking_only(self, net)
        absolute = replace(net.dynamics, relative_surrogate=False)
        return net.firing(fused, replace(absolute, surrogate=self.derivative, detach_reset=self.detach_reset))


@dataclass(frozen=True)
class Scaled:
    """`Surrogate` with the threshold as the unit of potentials: the derivative is ``g(u / threshold) / threshold``.

    Multiplying a layer's threshold and its input by ``c > 0`` does not change the network's output. Along this path it does
    not change the gradient either, unlike with a surrogate of fixed width. Raises ValueError if ``derivative`` is not a
    function of ``u``.
    """

    derivative: SurrogateDerivative = Triangle()

    def __post_init__(self) -> None:
        _is_derivative(self.derivative)

    def __str__(self) -> str:
        return f"{self.derivative} of the threshold"

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        net = spiking_only(self, net)
        return net.firing(fused, replace(net.dynamics, surrogate=self.derivative, relative_surrogate=True))


def _is_derivative(derivative: object) -> None:
    if not callable(derivative) or isinstance(derivative, type):
        raise ValueError(f"the derivative of a path must be a surrogate such as Triangle(0.5), not {derivative!r}")


@dataclass(frozen=True)
class Rate:
    """Back-propagation through rates ("BPTR"): the gradient passes where a neuron fired at least once."""

    foreign: ClassVar[bool] = True

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.around(_where_it_fired)
        return spiking_only(self, net).firing(Through(self._rule))

    @staticmethod
    def _rule(grad: Tensor, firing: Firing) -> Tensor:
        return grad * (firing.spikes != 0).any(0).to(grad.dtype)


def _where_it_fired() -> Around:
    """Return `Rate` for one neuron layer that runs all steps at once or one after another."""
    fired: list[Tensor] = []

    def around(current: Tensor, spikes: Tensor) -> Tensor:
        fired.append((spikes != 0).any(0))
        return surrogate(lambda _: spikes.clone(), lambda _: torch.stack(fired).any(0))(current)

    return around


@dataclass(frozen=True)
class RateApproximation:
    """Rate gradient approximation (RGA; Bu et al. 2023): the firing rate as a function of the mean current.

    With ``a = mean_t I / threshold`` and leak ``l``, the time-averaged gradient is multiplied by 0.2 for ``0 <= a <= 1 - l``,
    by ``(1 - 0.2 (1 - l)) / (l + 1)`` for ``1 - l < a <= 2``, and by 0 otherwise. The formula holds for `LIF` neurons only.
    """

    neurons: ClassVar[type[Neuron]] = LIF

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        net = spiking_only(self, net)
        if not isinstance(net.dynamics.neuron, LIF):
            raise ValueError(f"{self} needs LIF or PLIF neurons, not {net.dynamics.neuron}: use Hybrid() or Rate()")
        return net.firing(Through(self._rule))

    @staticmethod
    def _rule(grad: Tensor, firing: Firing) -> Tensor:
        neuron = firing.dynamics.neuron
        assert isinstance(neuron, LIF)
        a, leak = firing.current.mean(0) / firing.threshold, neuron.kept(firing.tensors)
        low = ((a >= 0) & (a <= 1 - leak)).to(grad.dtype) * 0.2
        high = ((a > 1 - leak) & (a <= 2)).to(grad.dtype) * ((1 - 0.2 * (1 - leak)) / (leak + 1))
        return (grad.mean(0) * (low + high)).expand_as(grad)


@dataclass(frozen=True)
class Hybrid:
    """Hybrid adversarial attack with rate-averaged gradients (HART): the surrogate times the gradient, averaged over time.

    No gradient passes through the potential from step to step. Raises ValueError if ``width`` is not greater than 0.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        Triangle(self.width)

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        surrogate = Triangle(self.width)

        def rule(grad: Tensor, firing: Firing) -> Tensor:
            return (grad * firing.slope(surrogate)).mean(0).expand_as(grad)

        return spiking_only(self, net).firing(Through(rule))


@dataclass(frozen=True)
class Analog:
    """ReLU in every slot and no time ("activation"): the ANN with the network's current weights."""

    foreign: ClassVar[bool] = True

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.around(lambda: lambda current, _: current.relu(), timesteps=net.fewest)
        view = spiking_only(self, net).rewired(lambda _, __: nn.ReLU())
        return view.body


_KINDS: tuple[type[GradientPath], ...] = (
    Surrogate, Scaled, Rate, Analog, RateApproximation, Hybrid, PotentialDependent, Adaptive, Plain,
)  # fmt: skip
PATHS: dict[str, Callable[..., GradientPath]] = {kind.__name__: kind for kind in _KINDS}
"""Gradient paths by name."""
