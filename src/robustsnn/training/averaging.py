"""Weight averaging: a running average over training steps, with its own batch norm statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.compute import with_tensors
from robustsnn.training.objectives import Pass

RENEWED = 32
"""Batches from which the averaged network estimates its batch norm statistics."""


@dataclass(frozen=True)
class Average:
    """Polyak averaging after every step, in place: ``average <- d * average + (1 - d) * parameter``.

    ``d = min(decay, (1 + n) / (10 + n))`` after n steps, so that short trainings also forget the initial weights.

    Arguments:
        decay: in ``(0, 1)``.
        values: current averages by parameter name.
    """

    decay: float
    values: dict[str, Tensor]

    @classmethod
    def of(cls, net: nn.Module, decay: float) -> Average:
        """Start the average at the weights of ``net``."""
        return cls(decay, {name: parameter.detach().clone() for name, parameter in net.named_parameters()})

    @torch.no_grad()
    def update(self, net: nn.Module, steps: int) -> None:
        """Update the average with the parameters of ``net`` after ``steps`` steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for name, parameter in net.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)

    def network(self, net: nn.Module) -> nn.Module:
        """Return a view of ``net`` with averaged parameters and copies of its buffers, in train mode."""
        parameters = {
            name: nn.Parameter(self.values[name], requires_grad=parameter.requires_grad)
            for name, parameter in net.named_parameters()
        }
        return with_tensors(net, {**parameters, **{name: buffer.clone() for name, buffer in net.named_buffers()}}).train()


def renew(net: nn.Module, losses: Iterable[Pass]) -> None:
    """Update the batch norm statistics of ``net`` by forward passes of the given losses."""
    for loss in losses:
        loss(net)
