"""What acts on a network's parameters after every optimiser step, as values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.compute.sums import running_sum
from robustsnn.models import weight_layers
from robustsnn.models.resnet import Mix
from robustsnn.spiking import SpikingNetwork


@dataclass(frozen=True)
class ThresholdFloor:
    """``threshold <- max(threshold, floor)``, for thresholds that are trained.

    Raises:
        ValueError: ``floor`` is not positive.
    """

    floor: float = 0.03

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise ValueError(f"the floor of thresholds must be finite and greater than 0, not {self.floor}")

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        if isinstance(net, SpikingNetwork):
            for threshold in net.thresholds.values():
                if threshold.requires_grad:
                    threshold.clamp_(min=self.floor)


@dataclass(frozen=True)
class LeakRange:
    """Trained leaks stay in ``[lowest, 1]``.

    Raises:
        ValueError: ``lowest`` is not in (0, 1].
    """

    lowest: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= 1:
            raise ValueError(f"the lowest leak must be in (0, 1], not {self.lowest}")

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        if isinstance(net, SpikingNetwork):
            for leak in net.leaks.values():
                if leak.requires_grad:
                    leak.clamp_(self.lowest, 1)


@dataclass(frozen=True)
class Retraction:
    """``W <- (1 + beta) W - beta W W^T W`` for every convolution and linear layer, rows being outputs (Ding et al. 2022).

    It moves the singular values towards 1, so that perturbations are not amplified; the mixing weights of residual branches
    are projected to ``>= 0`` and a sum of at most 1. Train without weight decay.

    Raises:
        ValueError: ``beta`` is not positive.
    """

    beta: float = 2e-3

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta of Retraction must be finite and greater than 0, not {self.beta}")

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for layer in weight_layers(net).values():
            rows = layer.weight.flatten(1)
            retracted = (1 + self.beta) * rows - self.beta * (rows @ rows.T @ rows)
            layer.weight.copy_(retracted.view_as(layer.weight))
        for module in net.modules():
            if isinstance(module, Mix):
                module.comb.copy_(_into_simplex(module.comb))


AFTER_STEP: dict[str, Callable[[], Callable[[nn.Module], None]]] = {
    "LeakRange": LeakRange,
    "Retraction": Retraction,
    "ThresholdFloor": ThresholdFloor,
}


def _into_simplex(weights: Tensor) -> Tensor:
    """The nearest weights that are at least 0 and sum to at most 1."""
    clipped = weights.clamp(min=0)
    if clipped.sum() <= 1:
        return clipped
    descending = weights.sort(descending=True).values
    excess = (running_sum(descending, 0) - 1) / torch.arange(1, len(weights) + 1, device=weights.device)
    count = int((descending > excess).sum())
    return (weights - excess[count - 1]).clamp(min=0)
