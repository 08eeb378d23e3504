"""Gradient paths: how a gradient gets through the spikes. A path is a value; called on a network it returns a view.

Every path but `Analog` leaves the forward pass exactly as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from robustsnn.spiking.kernels import fused_lif, rate_lif
from robustsnn.spiking.network import Neuron, SpikingNetwork
from robustsnn.spiking.rewire import rewire
from robustsnn.spiking.surrogate import SurrogateDerivative, Triangle


@dataclass(frozen=True)
class Plain:
    """Back-propagation as the network itself defines it: the one path of an ANN."""

    def __call__(self, net: nn.Module) -> nn.Module:
        return rewire(net, lambda _, __: None)


@dataclass(frozen=True)
class Surrogate:
    """Back-propagation through time with a surrogate derivative of one's choice, optionally not through the reset."""

    derivative: SurrogateDerivative = field(default_factory=Triangle)
    detach_reset: bool = False

    def __str__(self) -> str:
        return f"{self.derivative}{', detached reset' if self.detach_reset else ''}"

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        net = _spiking(self, net)
        return net.firing(fused_lif, replace(net.dynamics, surrogate=self.derivative, detach_reset=self.detach_reset))


@dataclass(frozen=True)
class Rate:
    """Back-propagation through rates ("BPTR"): the gradient passes where a neuron fired at least once."""

    def __call__(self, net: nn.Module) -> SpikingNetwork:
        return _spiking(self, net).firing(rate_lif)


@dataclass(frozen=True)
class Analog:
    """ReLU in every slot and no time ("activation"): the ANN with the network's present weights."""

    def __call__(self, net: nn.Module) -> nn.Module:
        return rewire(_spiking(self, net).body, lambda _, module: _relu(module) if isinstance(module, Neuron) else None)


def _relu(neuron: Neuron) -> nn.Module:
    return nn.ReLU().train(neuron.training)


def _spiking(path: object, net: nn.Module) -> SpikingNetwork:
    if not isinstance(net, SpikingNetwork):
        raise ValueError(f"{path} needs a SpikingNetwork, not {type(net).__name__}; the path of an ANN is Plain()")
    return net
