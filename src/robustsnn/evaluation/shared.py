"""One forward pass for many gradients: members that take a single step from the clean image differ only in the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustsnn.attacks import FGSM
from robustsnn.attacks.goals import Losses
from robustsnn.attacks.gradient import usable
from robustsnn.evaluation.members import Member
from robustsnn.spiking import Firing, Hybrid, PotentialDependent, Rate, RateApproximation, SpikingNetwork, Surrogate, Through
from robustsnn.spiking.kernels import through_time
from robustsnn.spiking.network import Fire

SAME_FORWARD = (Surrogate, Rate, RateApproximation, Hybrid, PotentialDependent)
"""Paths that change nothing but the neurons' way back, and remember nothing."""


def runs(members: Sequence[Member]) -> list[list[Member]]:
    """The members in their order, those that can share a forward pass together."""
    found: list[list[Member]] = []
    for member in members:
        if found and _shares(found[-1][0], member):
            found[-1].append(member)
        else:
            found.append([member])
    return found


def _shares(one: Member, other: Member) -> bool:
    alike = isinstance(one.attack, FGSM) and (one.attack, one.threat) == (other.attack, other.threat)
    return alike and isinstance(one.path, SAME_FORWARD) and isinstance(other.path, SAME_FORWARD)


class SharedForward:
    """The forward pass of a spiking network, with the way back of each of several paths.

    Arguments:
        views: the network as each path gives it; all compute the same forward.
    """

    def __init__(self, views: Sequence[nn.Module]) -> None:
        networks = [view for view in views if isinstance(view, SpikingNetwork)]
        self.turn = 0
        self.neurons = [network.neurons for network in networks]
        self.net = networks[0].rewired(lambda name, neuron: neuron.changed(fire=self._fire(name)))

    def gradients(self, x: Tensor, losses: Losses) -> Iterator[Tensor]:
        """The gradient of each image's loss at ``x [N, ...]`` along one path after the other, computed when asked for."""
        everyone = torch.arange(len(x), device=x.device)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = losses(self.net(x), everyone).sum()
        for turn in range(len(self.neurons)):
            self.turn = turn
            yield usable(torch.autograd.grad(value, x, retain_graph=turn + 1 < len(self.neurons))[0])

    def _fire(self, name: str) -> Fire:
        """Neurons whose way back is looked up when it is taken."""

        def rule(grad: Tensor, firing: Firing) -> Tensor:
            neuron = self.neurons[self.turn][name]
            dynamics = replace(neuron.dynamics, leak=firing.dynamics.leak)
            back = neuron.fire.rule if isinstance(neuron.fire, Through) else through_time
            return back(grad, replace(firing, dynamics=dynamics))

        return Through(rule)
