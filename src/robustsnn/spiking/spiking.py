"""The interface of every spiking network, of this package or of another library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from robustsnn.types import Inputs, Logits


class Spiking(nn.Module, ABC):
    """A network that runs for T time steps and whose logits ``[N,K]`` are averaged over time."""

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """Number of time steps, T."""

    @abstractmethod
    def steps(self, x: Tensor) -> Tensor:
        """Return the logits of every time step, ``[T,N,K]``."""

    def forward(self, x: Inputs) -> Logits:
        """Return the logits averaged over time, ``[N, ...] -> [N,K]``."""
        return self.steps(x).mean(0)

    @abstractmethod
    def rates(self, batches: Iterable[Tensor]) -> dict[str, float]:
        """Return the mean spikes per neuron and time step of every neuron layer, by module path in firing order."""

    @abstractmethod
    def leads(self, path: object) -> bool:
        """Return whether a gradient path supports the network's neurons."""
