"""A gradient path whose surrogate is as wide as the potentials are spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.compute.sums import running_sum
from robustsnn.spiking.foreign import ForeignNetwork, Spike, surrogate
from robustsnn.spiking.kernels import Firing, Through
from robustsnn.spiking.network import spiking_only


@dataclass(frozen=True)
class PotentialDependent:
    """Back-propagation through time with a surrogate as wide as the potentials are spread (PDSG).

    ``g(u) = exp(-(u - s/2)^2 / (2 s^2)) / (sqrt(2 pi) s)``, where s is the standard deviation of the potentials of all steps
    so far, over the positions of a channel (or all neurons of a linear layer); 0 becomes 1. It is taken image by image, so
    that an image's result does not depend on those it is attacked with.
    """

    foreign: ClassVar[bool] = True

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.spiking(lambda _, own: _step_by_step(own))
        return spiking_only(self, net).firing(Through(_rule))


def _rule(grad: Tensor, firing: Firing) -> Tensor:
    v = firing.v_pre
    space = tuple(range(3, v.dim())) or (2,)
    count = torch.arange(1, len(v) + 1, dtype=v.dtype, device=v.device).view(-1, *[1] * (v.dim() - 1))
    mean, square = (running_sum(x.mean(space, keepdim=True), 0) / count for x in (v, v.square()))
    spread = _spread(mean, square)
    return firing.back(grad, lambda t, u: _bell(u, spread[t].reshape(*spread[t].shape, *[1] * (u.dim() + 1 - v.dim()))))


def _step_by_step(own: Spike) -> Spike:
    """Distances to the threshold are spread like the potentials."""
    sums: list[Tensor] = []

    def spike(u: Tensor) -> Tensor:
        moments = torch.stack([x.mean(tuple(range(2, u.dim())) or (1,), keepdim=True) for x in (u, u.square())]).detach()
        sums.append(moments + sums[-1] if sums else moments)
        s = _spread(*(sums[-1] / len(sums)))
        return surrogate(own, lambda u: _bell(u, s))(u)

    return spike


def _spread(mean: Tensor, square: Tensor) -> Tensor:
    spread = (square - mean.square()).clamp(min=0).sqrt()
    return torch.where(spread < 1e-6, 1.0, spread)


def _bell(u: Tensor, s: Tensor) -> Tensor:
    return torch.exp(-((u - s / 2) ** 2) / (2 * s**2)) / (math.sqrt(2 * math.pi) * s)
