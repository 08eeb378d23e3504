"""An objective that limits how far a perturbation moves the potentials of the last neuron layer."""

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
    """Penalise moved potentials: ``inner + weight * mean |e[t]| / threshold`` (Ding et al. 2024; l1, Lai et al. 2026).

    ``e[t] = leak * e[t-1] + I'[t] - I[t]`` is the membrane potential perturbation of the last neuron layer without resets. I
    and I' are its currents for clean and adversarial images; the mean is over steps, images and neurons.

    Arguments:
        inner: the objective; both terms use its adversarial images.
        weight: of the second term, which costs two more forward passes.

    Raises:
        ValueError: the trained network has no neurons.
    """

    inner: Robust = RobustFinetuning()
    weight: NotNegative = 0.1

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        loss = self.inner.loss(net, x, adversarial, y)
        return loss + self.weight * perturbation(net, x, adversarial) if self.weight else loss


def perturbation(net: nn.Module, x: Inputs, adversarial: Inputs) -> Tensor:
    """Return the mean ``|e[t]| / threshold`` over the last neuron layer, differentiable. Raises ValueError without neurons."""
    if not isinstance(net, SpikingNetwork) or not net.neurons:
        raise ValueError(f"Steady needs a SpikingNetwork with neurons, not {type(net).__name__}: use it in finetuning only")
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
