"""The three forms of everything that is measured: plain, ours, and the floor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from robustsnn.compute import rewire, view
from robustsnn.compute.layout import layout
from robustsnn.compute.mixing import mixture
from robustsnn.conversion import convert
from robustsnn.models import create, weight_layers
from robustsnn.models.resnets import Mix
from robustsnn.seeds import generator, image_seeds, randomness
from robustsnn.spiking import Dynamics, Slot, SpikingNetwork, Surrogate, unrolled
from robustsnn.types import GradientPath


@dataclass(frozen=True)
class Case:
    """What is measured.

    Arguments:
        network, width: a body for 32x32 images, one of `robustsnn.models.MODELS`.
        timesteps, batch: T and N; the PGD ensemble and calibration take ``few`` images.
        device: ``cpu`` or ``cuda``.
    """

    network: str = "resnet20"
    width: float = 1.0
    timesteps: int = 8
    batch: int = 64
    few: int = 16
    device: str = "cpu"

    @cached_property
    @randomness("bench")
    def body(self) -> nn.Module:
        """The body, whose batch norms have seen the images."""
        body = create(self.network, 10, width=self.width).to(self.device)
        body.train()(self.images(self.batch))
        return body.eval()

    @cached_property
    def ours(self) -> SpikingNetwork:
        """The network as this project runs it: converted, so that neurons fire at every depth."""
        return convert(self.body, [self.images(16)], Dynamics(self.timesteps), calibration_timesteps=8)

    @cached_property
    def plain(self) -> SpikingNetwork:
        """The same network by the definition."""
        return plain(self.ours)

    def floor(self, count: int, ann: bool = False) -> Floor:
        """The layers alone, on that many images: those of the spiking network, or of the body as an ANN."""
        x = self.images(count).contiguous(memory_format=layout(self.body))
        return Floor(self.body if ann else self.ours, x)

    def images(self, count: int) -> Tensor:
        """Random pixels, ``[count, 3, 32, 32]``."""
        return torch.rand(count, 3, 32, 32, generator=generator(0, "bench")).to(self.device)

    def labels(self, count: int) -> Tensor:
        return (torch.arange(count) % 10).to(self.device)

    def seeds(self, count: int) -> Tensor:
        """One per image, as training and evaluation give them: noise is then drawn on the device."""
        return image_seeds(torch.arange(count), 0).to(self.device)


def plain(net: SpikingNetwork) -> SpikingNetwork:
    """The oracle's execution of the same network."""
    slots = [Slot(slot.name) for slot in net.slots]
    body = rewire(net.body, lambda _, module: _Defined(module).train(module.training) if isinstance(module, Mix) else None)
    view = SpikingNetwork(body, net.dynamics, slots=slots).firing(unrolled).train(net.training)
    view.channels_last = False
    return view


class _Defined(nn.Module):
    def __init__(self, mix: Mix) -> None:
        super().__init__()
        self.comb = mix.comb

    def forward(self, shortcut: Tensor, residual: Tensor) -> Tensor:
        return mixture(self.comb, shortcut, residual)


@dataclass(frozen=True)
class PlainPath:
    """A published path by the definition: `unrolled` and autograd, where it is one through the neurons' potentials."""

    path: GradientPath

    def __str__(self) -> str:
        return str(self.path)

    def __call__(self, net: nn.Module) -> nn.Module:
        if not isinstance(self.path, Surrogate) or not isinstance(net, SpikingNetwork):
            return self.path(net)
        return net.firing(unrolled, replace(net.dynamics, surrogate=self.path.derivative, detach_reset=self.path.detach_reset))


class Floor:
    """The convolutions and linears of a network alone, each on an input like the one it gets there."""

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        self.calls: list[tuple[nn.Module, Tensor]] = []
        fresh = view(net).eval()
        hooks = [layer.register_forward_pre_hook(self._record) for layer in weight_layers(fresh).values()]
        with torch.no_grad():
            fresh(x)
        for hook in hooks:
            hook.remove()

    def _record(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.calls.append((layer, given[0].detach()))

    @torch.no_grad()
    def forward(self) -> None:
        """Every layer once."""
        for layer, x in self.calls:
            layer(x)

    def gradient(self) -> None:
        """Every layer forward, and back to its input."""
        self._back(weights=False)

    def step(self) -> None:
        """Every layer forward, and back to its input (but for the first) and its weights."""
        self._back(weights=True)

    def _back(self, weights: bool) -> None:
        for number, (layer, x) in enumerate(self.calls):
            x = x.detach().requires_grad_(not weights or number > 0)
            wanted = [x] * x.requires_grad + list(layer.parameters()) * weights
            y: Tensor = layer(x)
            torch.autograd.grad(y, wanted, y.detach())
