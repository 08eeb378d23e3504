"""Sparse networks: the smallest weights become 0, and what is 0 stays so."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustsnn.models import own_weights


@torch.no_grad()
def prune(net: nn.Module, sparsity: float) -> None:
    """Set the smallest weights of all convolutions and linear layers together to 0, in place (global magnitude pruning).

    Arguments:
        sparsity: share of these weights that becomes 0, in ``[0, 1)``.

    Raises:
        ValueError: ``sparsity`` out of range, or no such weights.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity, the share of weights to remove, must be in [0, 1), not {sparsity}")
    weights = list(own_weights(net).values())
    if not weights:
        raise ValueError(f"{type(net).__name__} has no convolution or linear layer to prune")
    sizes = torch.cat([w.abs().flatten() for w in weights])
    keep = torch.ones_like(sizes)
    keep[sizes.argsort()[: round(sparsity * len(sizes))]] = 0
    for weight, mask in zip(weights, keep.split([w.numel() for w in weights]), strict=True):
        weight.mul_(mask.view_as(weight))


@dataclass(frozen=True, eq=False)
class KeepZeros:
    """After every step, the weights that were 0 when this was made are 0 again: `KeepZeros.of`."""

    masks: dict[str, Tensor] = field(repr=False)

    @classmethod
    def of(cls, net: nn.Module) -> KeepZeros:
        """For a network as it is now."""
        return cls({name: weight.detach() != 0 for name, weight in own_weights(net).items()})

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for name, weight in own_weights(net).items():
            weight.mul_(self.masks[name])
