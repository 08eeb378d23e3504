"""Members of an ensemble: an attack along a gradient path. The published ensemble of 19 gradients is four lines of data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from robustsnn.spiking import (
    Analog,
    Exponential,
    Plain,
    Rate,
    Rectangle,
    SpikingNetwork,
    StraightThrough,
    Surrogate,
    Triangle,
)
from robustsnn.types import Attack, GradientPath

PUBLISHED_PATHS: tuple[GradientPath, ...] = (
    *(Surrogate(Triangle(width)) for width in (1.0, 2.0, 3.0, 0.5, 0.25)),
    *(Surrogate(Exponential(height, rate)) for height in (0.3, 1.0) for rate in (0.5, 1.0, 2.0)),
    *(Surrogate(Rectangle(width)) for width in (0.25, 0.5, 1.0, 2.0, 4.0)),
    *(Surrogate(StraightThrough()), Rate(), Analog()),
)
"""The 19 gradient paths of Ozdenizci & Legenstein 2024, in their order."""

QUICK_PATHS: tuple[GradientPath, ...] = (Surrogate(Triangle(1.0)), Surrogate(Exponential(1.0, 1.0)), Rate(), Analog())


@dataclass(frozen=True)
class Member:
    """An attack that follows a gradient path."""

    attack: Attack
    path: GradientPath

    def __str__(self) -> str:
        return f"{self.attack} along {self.path}"


def members(attack: Attack, paths: tuple[GradientPath, ...], net: nn.Module) -> tuple[Member, ...]:
    """One attack along each of the paths; along the one path there is where ``net`` does not spike."""
    return tuple(Member(attack, path) for path in (paths if isinstance(net, SpikingNetwork) else (Plain(),)))
