"""Pruning: the smallest weights are set to 0 and stay 0."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustsnn.models import own_weights
from robustsnn.training.training_state import retrained


@torch.no_grad()
def prune(net: nn.Module, sparsity: float) -> None:
    """Set the smallest weights over all convolutions and linear layers to 0, in place (global magnitude pruning).

    Arguments:
        sparsity: fraction of these weights to set to 0, in ``[0, 1)``.

    Raises:
        ValueError: ``sparsity`` is out of range, or there are no such weights.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity, the fraction of weights to remove, must be in [0, 1), not {sparsity}")
    weights = list(own_weights(net).values())
    if not weights:
        raise ValueError(f"{type(net).__name__} has no convolution or linear layer to prune: prune another network")
    sizes = torch.cat([w.abs().flatten() for w in weights])
    keep = torch.ones_like(sizes)
    keep[sizes.argsort()[: round(sparsity * len(sizes))]] = 0
    for weight, mask in zip(weights, keep.split([w.numel() for w in weights]), strict=True):
        weight.mul_(mask.view_as(weight))
    retrained(net)


@dataclass(frozen=True, eq=False)
class KeepZeros:
    """Set weights to 0 after every step if they were 0 when `KeepZeros.of` was called."""

    masks: dict[str, Tensor] = field(repr=False)

    @classmethod
    def of(cls, net: nn.Module) -> KeepZeros:
        """Store which weights of a network are 0 now."""
        return cls({name: weight.detach() != 0 for name, weight in own_weights(net).items()})

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for name, weight in own_weights(net).items():
            weight.mul_(self.masks[name])
