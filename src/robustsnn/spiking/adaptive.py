"""Gradient paths whose surrogate derivative adapts to the membrane potentials of each image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.compute import machine_code
from robustsnn.compute.sums import running_sum
from robustsnn.spiking.dynamics import Dynamics, Fire
from robustsnn.spiking.foreign import ForeignNetwork, Spike, surrogate
from robustsnn.spiking.kernels import Firing, Through
from robustsnn.spiking.network import SpikingNetwork, spiking_only


@dataclass(frozen=True)
class Adaptive:
    """Back-propagation through time with a surrogate that adapts to the potential of every neuron (ASSG, arXiv 2512.22522).

    Each forward pass of a run updates, per image, neuron and step, ``m <- 0.9 m + 0.1 |u|`` and
    ``d <- 0.9 d + 0.1 ||u| - m|``, starting at 1 and 0. The surrogate derivative is ``k / (2 (1 + (pi/2 k u)^2))`` with
    ``k = w / (m + 1.5 d + 1e-4)`` and ``w = 2/pi tan(pi a)``: it is sharp where the potential stays near the threshold.

    Arguments:
        a: fraction of the gradient that may vanish, in (0, 0.5); the paper uses 0.41 to 0.45.
        relative: start ``m`` at the mean of ``|u|`` over the layer's neurons and use this mean as the unit of ``1e-4``. The
            path then does not change when a layer's threshold and input are scaled together.

    Raises:
        ValueError: ``a`` is out of range.
    """

    foreign: ClassVar[bool] = True
    a: float = 0.43
    relative: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.a < 0.5:
            raise ValueError(f"a of Adaptive must be in (0, 0.5), not {self.a}")

    def __str__(self) -> str:
        return f"Adaptive(a={self.a}{', relative=True' if self.relative else ''})"

    def __call__(self, net: nn.Module) -> AdaptiveView:
        net = net if isinstance(net, ForeignNetwork) else spiking_only(self, net)
        return AdaptiveView(net, 2 / math.pi * math.tan(math.pi * self.a), self.relative)


class AdaptiveView(nn.Module):
    """A network that keeps statistics of each image's potentials between the forward passes of one run.

    `begin` starts a run and `follow` announces each of its passes. A pass that is not announced, such as one from another
    library's attack, is a run of its own.
    """

    def __init__(self, net: SpikingNetwork | ForeignNetwork, sharpness: float, relative: bool = False) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.relative = relative
        self.memory: dict[str, tuple[Tensor, Tensor]] = {}
        self.count = 0
        self.index: Tensor | None = None
        self.idle = False  # whether a pass needs no statistics: no run has announced it, and nobody asks for its gradient
        self.net: nn.Module = (
            net.spiking(self._step_by_step)
            if isinstance(net, ForeignNetwork)
            else net.rewired(lambda name, layer: layer.changed(fire=self._fire(name)))
        )

    def begin(self, count: int) -> None:
        """Start a run on ``count`` images."""
        self.memory, self.count, self.index = {}, count, None

    def follow(self, index: Tensor) -> None:
        """Announce that the next batch holds the images ``index [n]`` of the run."""
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        self.idle = self.index is None and not torch.is_grad_enabled()
        if self.index is None:
            self.begin(len(x))
            self.index = torch.arange(len(x), device=x.device)
        try:
            return self.net(x)  # type: ignore[no-any-return]
        finally:
            self.index = None

    def _fire(self, name: str) -> Fire:
        def fire(current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor:
            with torch.no_grad():
                seen = Firing(current.detach(), {"threshold": threshold, **trained}, dynamics)
                k = current if self.idle else self._sharpness(name, seen.distances)
            rule = Through(lambda grad, firing: firing.back(grad, _arctangent, k))
            return rule(current, threshold, dynamics, **trained)

        return fire

    def _step_by_step(self, name: str, own: Spike) -> Spike:
        steps = count()

        def spike(u: Tensor) -> Tensor:
            with torch.no_grad():
                (k,) = self._sharpness(f"{name} at step {next(steps)}", u.unsqueeze(0))
            return surrogate(own, lambda u: _arctangent(u, k))(u)

        return spike

    def _sharpness(self, name: str, u: Tensor) -> Tensor:
        """Update the statistics with the distances ``u [T, n, ...]`` of the current images and return ``k``."""
        assert self.index is not None
        order = machine_code.in_memory(u, leading=2)
        rows = u.permute(order).reshape(*u.shape[:2], -1)
        unit = rows.abs().mean((0, 2), keepdim=True) if self.relative else rows.new_ones(1, rows.shape[1], 1)
        if name not in self.memory:
            whole = rows.new_full((len(rows), self.count, rows.shape[2]), torch.nan)
            self.memory[name] = whole, torch.zeros_like(whole)
        several = min(u.shape[:2]) > 1  # code for one step or image would be compiled separately
        repays = several and machine_code.repays(u, u.shape[:2].numel())
        update = machine_code.code_for(_update, u.device, u.dtype) if repays else _update
        rows, unit = machine_code.bare(rows), machine_code.bare(unit)
        k: Tensor = update(rows, *self.memory[name], unit, rows.new_tensor(self.sharpness), self.index)
        return k.view([u.shape[d] for d in order]).permute([order.index(d) for d in range(u.dim())])


def _update(u: Tensor, mean: Tensor, deviation: Tensor, unit: Tensor, sharpness: Tensor, index: Tensor) -> Tensor:
    """Update statistics ``[T, N, m]`` of the images ``index [n]`` with their distances ``[T, n, m]``; return ``k``."""
    distance, before = u.abs(), mean[:, index]
    now = 0.9 * torch.where(before.isnan(), unit, before) + 0.1 * distance  # NaN before the first pass of an image
    spread = 0.9 * deviation[:, index] + 0.1 * (distance - now).abs()
    mean[:, index], deviation[:, index] = now, spread
    return sharpness / (now + 1.5 * spread + 1e-4 * unit)


def _arctangent(u: Tensor, k: Tensor) -> Tensor:
    return k / (2 * (1 + (math.pi / 2 * k * u) ** 2))


@dataclass(frozen=True)
class PotentialDependent:
    """Back-propagation through time with a surrogate as wide as the spread of the potentials (PDSG).

    ``g(u) = exp(-(u - s/2)^2 / (2 s^2)) / (sqrt(2 pi) s)``, where s is the standard deviation of the potentials of all steps
    so far, over the positions of a channel or all neurons of a linear layer; 0 is replaced by 1. It is computed per image, so
    that the result for an image does not depend on its batch.
    """

    foreign: ClassVar[bool] = True

    def __call__(self, net: nn.Module) -> nn.Module:
        if isinstance(net, ForeignNetwork):
            return net.spiking(lambda _, own: _step_by_step(own))
        return spiking_only(self, net).firing(Through(_rule))


def _rule(grad: Tensor, firing: Firing) -> Tensor:
    """The spread of the distances to the threshold is that of the potentials; with several thresholds, the first counts."""
    several = firing.distances.dim() > grad.dim()
    u = firing.distances[..., 0] if several else firing.distances
    space = tuple(range(3, u.dim())) or (2,)
    count = torch.arange(1, len(u) + 1, dtype=u.dtype, device=u.device).view(-1, *[1] * (u.dim() - 1))
    mean, square = (running_sum(x.mean(space, keepdim=True), 0) / count for x in (u, u.square()))
    spread = _spread(mean, square)
    return firing.back(grad, _bell, spread.unsqueeze(-1) if several else spread)


def _step_by_step(own: Spike) -> Spike:
    """Return `_rule` for neurons that run one step after another."""
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
