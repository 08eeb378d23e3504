"""Neurons that also say no: spikes of both signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.spiking.neurons.neuron import Neuron, Tensors


@dataclass(frozen=True)
class Ternary(Neuron):
    """Leaky integrate-and-fire neurons with spikes of 1 and of -1 (ternary spikes, Guo et al. 2024).

        v_pre[t] = leak * v[t-1] + current[t]              v[-1] = start * threshold
        s[t]     = 1 if v_pre[t] >= threshold, -1 if v_pre[t] <= -threshold, else 0
        v[t]     = v_pre[t] - s[t] * threshold

    A spike's derivative is the sum of the surrogate's at both thresholds. A spike of either sign costs accumulates. These
    neurons also say what a ReLU leaves out, so a network that is converted to them needs finetuning.

    Raises:
        ValueError: a value outside its range.
    """

    leak: float = 1.0
    start: float = 0.0

    def distances(self, potential: Tensor, tensors: Tensors) -> Tensor:
        return torch.stack([potential, -potential], -1) - tensors["threshold"].unsqueeze(-1)

    def emitted(self, fired: Tensor) -> Tensor:
        return fired[..., 0] - fired[..., 1]

    def reset_by(self, potential: Tensor, spikes: Tensor, tensors: Tensors) -> Tensor:
        return potential - spikes * tensors["threshold"]
