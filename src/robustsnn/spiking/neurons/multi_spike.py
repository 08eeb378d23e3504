"""Neurons that emit several spikes in one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.spiking.neurons.neuron import Neuron, Tensors


@dataclass(frozen=True)
class MultiSpike(Neuron):
    """Integrate-and-fire neurons that emit up to ``levels`` spikes per step.

        v_pre[t] = leak * v[t-1] + current[t]              v[-1] = start * threshold
        s[t]     = number of k = 1, ..., levels with v_pre[t] >= k * threshold
        v[t]     = v_pre[t] - s[t] * threshold

    The derivative of a spike is the sum of the surrogate at all of these thresholds. Every spike costs accumulates.
    Raises ValueError if a value is out of range.
    """

    levels: int = 4
    leak: float = 1.0
    start: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or self.levels < 1:
            raise ValueError(f"levels must be a whole number of at least 1, not {self.levels!r}")

    def distances(self, potential: Tensor, tensors: Tensors) -> Tensor:
        levels = torch.arange(1, self.levels + 1, device=potential.device, dtype=potential.dtype)
        return potential.unsqueeze(-1) - tensors["threshold"].unsqueeze(-1) * levels

    def emitted(self, fired: Tensor) -> Tensor:
        return fired.sum(-1)

    def reset_by(self, potential: Tensor, spikes: Tensor, tensors: Tensors) -> Tensor:
        return potential - spikes * tensors["threshold"]
