"""What a perturbation does to the potentials of the last layer of neurons, kept small."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.ranges import NotNegative
from robustsnn.spiking import Dynamics, SpikingNetwork
from robustsnn.spiking.kernels import fused
from robustsnn.training.objectives import Around, Robust, RobustFinetuning
from robustsnn.types import Inputs, Labels


@dataclass(frozen=True)
class Steady(Around):
    """``inner + weight * mean |e[t]| / threshold`` (membrane potential perturbation, Ding et al. 2024; l1, Lai et al. 2026).

    ``e[t] = leak * e[t-1] + I'[t] - I[t]`` is how far adversarial images move the potentials of the last layer of neurons, if
    these were never reset; I and I' are its currents for clean and adversarial images. The mean is over all of them.

    Arguments:
        inner: the objective; its adversarial images serve both.
        weight: of the second term. It costs two more forward passes.

    Raises:
        ValueError: in training, a network without neurons.
    """

    inner: Robust = RobustFinetuning()
    weight: NotNegative = 0.1

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        loss = self.inner.loss(net, x, adversarial, y)
        return loss + self.weight * perturbation(net, x, adversarial) if self.weight else loss


def perturbation(net: nn.Module, x: Inputs, adversarial: Inputs) -> Tensor:
    """The mean of ``|e[t]| / threshold`` over the last layer of neurons, differentiable.

    Raises:
        ValueError: ``net`` has no neurons.
    """
    if not isinstance(net, SpikingNetwork) or not net.neurons:
        raise ValueError(f"membrane potentials need a SpikingNetwork with neurons, not {type(net).__name__}: finetune with it")
    last: list[Tensor] = []

    def fire(current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor:
        last[:] = [current / threshold]
        return fused(current, threshold, dynamics, **trained)

    watched = net.firing(fire)
    moved = torch.zeros(())
    for sign, values in ((1, adversarial), (-1, x)):
        watched(values)
        moved = moved + sign * last[0]
    *_, layer = net.neurons.values()
    perturbed, sizes = torch.zeros_like(moved[0]), []
    for step in moved:
        perturbed = net.dynamics.neuron.charge(perturbed, step, layer.tensors)
        sizes.append(perturbed.abs())
    return torch.stack(sizes).mean()
