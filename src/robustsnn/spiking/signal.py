"""How an input becomes T steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Constant:
    """The same input at every step: ``x [N, ...]`` is shown T times."""

    once: ClassVar[bool] = True
    """Whether every step is the same, so that what comes before the first spikes can run once."""
    coding: ClassVar[str] = "direct: the image is the input at every time step"
    """What it is, in words."""

    def shown(self, x: Tensor, timesteps: int) -> Tensor:
        """The inputs of all steps, time-major, ``[T*N, ...]``, of ``x [N, ...]``."""
        return x.expand(timesteps, *x.shape).flatten(0, 1)

    def beginning(self, x: Tensor, timesteps: int) -> Tensor:
        """The input as it is where there are only so many steps."""
        return x

    def stills(self, x: Tensor) -> Tensor:
        """Inputs of single steps as a batch, as a network without time takes them."""
        return x


@dataclass(frozen=True)
class Frames:
    """One frame after another: ``x [N, T, ...]``, such as ``[N,T,C,H,W]``. It acts as `Constant` says. Raises ValueError:
    ``shown`` an input of another number of steps."""

    once: ClassVar[bool] = False
    coding: ClassVar[str] = "frames: the input of every time step is a frame of its own"

    def shown(self, x: Tensor, timesteps: int) -> Tensor:
        if x.dim() < 3 or x.shape[1] != timesteps:
            raise ValueError(
                f"inputs {list(x.shape)} are no frames [N, T, ...] for a network of T = {timesteps} time steps: give it "
                f"Dynamics(timesteps=...) of as many steps as the data have frames, or signal=Constant() for still images"
            )
        return x.transpose(0, 1).flatten(0, 1)

    def beginning(self, x: Tensor, timesteps: int) -> Tensor:
        return x[:, :timesteps]

    def stills(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)


Signal = Constant | Frames
"""What a network is shown at each of its steps."""

SIGNALS: dict[str, type[Signal]] = {"Constant": Constant, "Frames": Frames}
"""Signals by name, as checkpoints spell them."""
