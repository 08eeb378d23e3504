"""Neurons with spikes of both signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.spiking.neurons.neuron import Neuron, Tensors


@dataclass(frozen=True)
class Ternary(Neuron):
    """Leaky integrate-and-fire neurons with spikes of 1 and -1 (ternary spikes, Guo et al. 2024).

        v_pre[t] = leak * v[t-1] + current[t]              v[-1] = start * threshold
        s[t]     = 1 if v_pre[t] >= threshold, -1 if v_pre[t] <= -threshold, else 0
        v[t]     = v_pre[t] - s[t] * threshold

    The derivative of a spike is the sum of the surrogate at both thresholds. A spike of either sign costs accumulates. These
    neurons also transmit values below 0, which a ReLU drops: a network converted to them needs finetuning.

    Raises:
        ValueError: a value is out of range.
    """

    leak: float = 1.0
    start: float = 0.0

    def distances(self, potential: Tensor, tensors: Tensors) -> Tensor:
        return torch.stack([potential, -potential], -1) - tensors["threshold"].unsqueeze(-1)

    def emitted(self, fired: Tensor) -> Tensor:
        return fired[..., 0] - fired[..., 1]

    def reset_by(self, potential: Tensor, spikes: Tensor, tensors: Tensors) -> Tensor:
        return potential - spikes * tensors["threshold"]
