"""Signals: how an input becomes T time steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Constant:
    """The same input at every step: ``x [N, ...]`` is repeated T times."""

    once: ClassVar[bool] = True
    """Whether all steps are equal, so that everything before the first spikes can run once."""
    coding: ClassVar[str] = "direct: the image is the input at every time step"
    """The input coding in words."""

    def sequence(self, x: Tensor, timesteps: int) -> Tensor:
        """Return the inputs of all steps: ``[N, ...] -> [T, N, ...]``."""
        return x.expand(timesteps, *x.shape)

    def shown(self, x: Tensor, timesteps: int) -> Tensor:
        """Return the inputs of all steps in one batch, time-major: ``[N, ...] -> [T*N, ...]``."""
        return self.sequence(x, timesteps).flatten(0, 1)

    def beginning(self, x: Tensor, timesteps: int) -> Tensor:
        """Return the input of the first ``timesteps`` steps."""
        return x

    def stills(self, x: Tensor) -> Tensor:
        """Return inputs of single steps as a batch for a network without time."""
        return x


@dataclass(frozen=True)
class Frames:
    """One frame per step: ``x [N, T, ...]``, such as ``[N,T,C,H,W]``. Methods are as for `Constant`; ``sequence`` and
    ``shown`` raise ValueError if the number of frames is not T."""

    once: ClassVar[bool] = False
    coding: ClassVar[str] = "frames: the input of every time step is a frame of its own"

    def sequence(self, x: Tensor, timesteps: int) -> Tensor:
        if x.dim() < 3 or x.shape[1] != timesteps:
            raise ValueError(
                f"inputs {list(x.shape)} are not frames [N, T, ...] with T = {timesteps}, the network's time steps: set "
                f"Dynamics(timesteps=...) to the number of frames, or use signal=Constant() for still images"
            )
        return x.transpose(0, 1)

    def shown(self, x: Tensor, timesteps: int) -> Tensor:
        return self.sequence(x, timesteps).flatten(0, 1)

    def beginning(self, x: Tensor, timesteps: int) -> Tensor:
        return x[:, :timesteps]

    def stills(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)


Signal = Constant | Frames
"""How a network receives its input over time."""

SIGNALS: dict[str, type[Signal]] = {"Constant": Constant, "Frames": Frames}
"""Signals by name, as checkpoints spell them."""
