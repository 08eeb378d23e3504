"""Neurons that say more in one step: several spikes, where the potential is several thresholds high."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.spiking.neurons.neuron import Neuron, Tensors


@dataclass(frozen=True)
class MultiSpike(Neuron):
    """Integrate-and-fire neurons with a burst of up to ``levels`` spikes a step.

        v_pre[t] = leak * v[t-1] + current[t]              v[-1] = start * threshold
        s[t]     = how many of 1, ..., levels times the threshold v_pre[t] reaches
        v[t]     = v_pre[t] - s[t] * threshold

    A spike's derivative is the sum of the surrogate's at all of these thresholds. Every spike of a burst costs accumulates.
    Raises ValueError: a value outside its range.
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
