"""What both kinds of spiking network are to whoever measures them: ours, and another library's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from robustsnn.types import Inputs, Logits


class Spiking(nn.Module, ABC):
    """A network that runs for some time steps, whose logits ``[N,K]`` are the mean over these."""

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """T."""

    @abstractmethod
    def steps(self, x: Tensor) -> Tensor:
        """Logits of every time step, ``[T,N,K]``."""

    def forward(self, x: Inputs) -> Logits:
        """Logits averaged over time, ``[N, ...] -> [N,K]``."""
        return self.steps(x).mean(0)

    @abstractmethod
    def rates(self, batches: Iterable[Tensor]) -> dict[str, float]:
        """Spikes per neuron and time step in every layer of neurons, by module path in firing order, over all the inputs."""

    @abstractmethod
    def leads(self, path: object) -> bool:
        """Whether a gradient path leads through its neurons."""
