"""Averaged weights: a running average over the steps of a training, with batch norm statistics of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.compute import with_tensors
from robustsnn.training.objectives import Pass

RENEWED = 32
"""Batches over which the batch norms of averaged weights find their statistics."""


@dataclass(frozen=True)
class Average:
    """``average <- d * average + (1 - d) * parameter`` after every step, in place (Polyak averaging).

    ``d = min(decay, (1 + n) / (10 + n))`` after n steps, so that a short training forgets its random start too.

    Arguments:
        decay: in ``(0, 1)``.
        values: the averages by parameter name, as they are now.
    """

    decay: float
    values: dict[str, Tensor]

    @classmethod
    def of(cls, net: nn.Module, decay: float) -> Average:
        """It begins with the weights that a network has."""
        return cls(decay, {name: parameter.detach().clone() for name, parameter in net.named_parameters()})

    @torch.no_grad()
    def update(self, net: nn.Module, steps: int) -> None:
        """Take in the parameters of ``net`` after ``steps`` steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for name, parameter in net.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)

    def network(self, net: nn.Module) -> nn.Module:
        """A view of ``net`` with the averages for parameters and copies of its buffers, in train mode."""
        parameters = {
            name: nn.Parameter(self.values[name], requires_grad=parameter.requires_grad)
            for name, parameter in net.named_parameters()
        }
        return with_tensors(net, {**parameters, **{name: buffer.clone() for name, buffer in net.named_buffers()}}).train()


def renew(net: nn.Module, losses: Iterable[Pass]) -> None:
    """Let the batch norms of ``net`` see the forward passes of some losses, whose gradients nobody asks for."""
    for loss in losses:
        loss(net)
