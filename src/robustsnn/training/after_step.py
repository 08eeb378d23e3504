"""Changes to a network's parameters after every optimiser step, as values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from robustsnn.compute.sums import running_sum
from robustsnn.models import own_weights
from robustsnn.models.resnets import Mix
from robustsnn.names import named
from robustsnn.ranges import Positive, Range, Ranged
from robustsnn.spiking import SpikingNetwork


@dataclass(frozen=True)
class ThresholdFloor(Ranged):
    """Keep trained thresholds at or above a floor: ``threshold <- max(threshold, floor)``."""

    floor: Positive = 0.03

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for threshold in _trained(net, "thresholds"):
            threshold.clamp_(min=self.floor)


@dataclass(frozen=True)
class LeakRange(Ranged):
    """Keep trained leaks in ``[lowest, 1]``."""

    lowest: Annotated[float, Range("(0, 1]")] = 0.01

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for leak in _trained(net, "leaks"):
            leak.clamp_(self.lowest, 1)


def _trained(net: nn.Module, kind: str) -> list[Tensor]:
    """Return the ``thresholds`` or ``leaks`` that a spiking network trains."""
    values = getattr(net, kind).values() if isinstance(net, SpikingNetwork) else ()
    return [value for value in values if value.requires_grad]


@dataclass(frozen=True)
class Retraction(Ranged):
    """Move singular values towards 1 (Ding et al. 2022): ``W <- (1 + beta) W - beta W W^T W`` for conv and linear layers.

    The rows of W are outputs. Singular values of 1 do not amplify perturbations. The mixing weights of residual branches are
    projected to ``>= 0`` and a sum of at most 1. Train without weight decay.
    """

    beta: Positive = 2e-3

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for weight in own_weights(net).values():
            rows = weight.flatten(1)
            retracted = (1 + self.beta) * rows - self.beta * (rows @ rows.T @ rows)
            weight.copy_(retracted.view_as(weight))
        for module in net.modules():
            if isinstance(module, Mix):
                module.comb.copy_(_into_simplex(module.comb))


AFTER_STEP: dict[str, Callable[[], Callable[[nn.Module], None]]] = named(LeakRange, Retraction, ThresholdFloor)


def _into_simplex(weights: Tensor) -> Tensor:
    """Return the nearest weights that are at least 0 and sum to at most 1."""
    clipped = weights.clamp(min=0)
    if clipped.sum() <= 1:
        return clipped
    descending = weights.sort(descending=True).values
    excess = (running_sum(descending, 0) - 1) / torch.arange(1, len(weights) + 1, device=weights.device)
    count = int((descending > excess).sum())
    return (weights - excess[count - 1]).clamp(min=0)
