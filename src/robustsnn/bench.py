"""Speed as ratios within one run: what this project computes against the plain definition, measured in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from robustsnn.conversion import spiking
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics, SpikingNetwork, lif


@dataclass(frozen=True)
class Timing:
    """Medians in seconds: the plain form, ours, and the convolutions and linears alone in the same number of calls."""

    what: str
    plain: float
    ours: float
    floor: float


def bench(model: str = "resnet20", width: float = 0.5, timesteps: int = 8, batch: int = 16, repeats: int = 3) -> list[Timing]:
    """Time the forward pass, the input gradient and a training step of a spiking network on this machine's CPU.

    Arguments:
        model, width: a body for 32x32 images, one of `robustsnn.models.MODELS`.
        timesteps, batch: T and N.
        repeats: of each form, in turns; the median counts.
    """
    x = torch.rand(batch, 3, 32, 32, generator=generator(0, "bench"))
    y = torch.arange(batch) % 10
    body = create(model, 10, width=width)
    ours = spiking(body, x, Dynamics(timesteps))
    forms = {"plain": plain(ours), "ours": ours, "floor": _Floor(body, timesteps)}
    work: dict[str, Callable[[nn.Module], object]] = {
        "forward": lambda net: _forward(net, x),
        "input gradient": lambda net: torch.autograd.grad(_loss(net, pixels := x.clone().requires_grad_(), y), pixels),
        "training step": lambda net: torch.autograd.grad(_loss(net, x, y), _trained(net), allow_unused=True),
    }
    timings = []
    for what, do in work.items():
        seen: dict[str, list[float]] = {name: [] for name in forms}
        for turn in range(repeats + 1):
            for name, net in forms.items():
                started = time.perf_counter()
                do(net)
                if turn:  # the first turn warms up
                    seen[name].append(time.perf_counter() - started)
        timings.append(Timing(what, **{name: median(times) for name, times in seen.items()}))
    return timings


def plain(net: SpikingNetwork) -> SpikingNetwork:
    """The oracle: `lif` by autograd through every step, the image repeated at the input."""
    slots = [type(slot)(slot.name) for slot in net.slots]
    return SpikingNetwork(net.body, net.dynamics, slots).firing(lif)


class _Floor(nn.Module):
    """The body with ReLU in the place of neurons, on every time step's copy of the image."""

    def __init__(self, body: nn.Module, timesteps: int) -> None:
        super().__init__()
        self.body, self.timesteps = body, timesteps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(x.repeat(self.timesteps, 1, 1, 1)).unflatten(0, (self.timesteps, -1))
        return logits.mean(0)


@torch.no_grad()
def _forward(net: nn.Module, x: torch.Tensor) -> object:
    return net(x)


def _loss(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(net(x), y)


def _trained(net: nn.Module) -> list[nn.Parameter]:
    return list(net.parameters())
