"""Surrogate derivatives ``g(u)`` of a spike, ``u = v - threshold`` (method table: Ozdenizci & Legenstein 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class SurrogateDerivative(Protocol):
    """Maps ``u`` of any shape to ``g(u)`` of the same shape."""

    def __call__(self, u: Tensor) -> Tensor: ...


def _positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} of a surrogate must be finite and greater than 0, not {value}")


@dataclass(frozen=True)
class Triangle:
    """Piecewise linear ("PCW"): ``g(u) = max(0, width - |u|) / width**2``.

    >>> Triangle(2.0)(torch.tensor([0.0, 1.0, 3.0]))
    tensor([0.5000, 0.2500, 0.0000])
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive("the width", self.width)

    def __call__(self, u: Tensor) -> Tensor:
        return u.abs().neg_().add_(self.width).clamp_(min=0).div_(self.width**2)


@dataclass(frozen=True)
class Exponential:
    """Exponential: ``g(u) = height * exp(-rate * |u|)``."""

    height: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        _positive("the height", self.height)
        _positive("the rate", self.rate)

    def __call__(self, u: Tensor) -> Tensor:
        return u.abs().mul_(-self.rate).exp_().mul_(self.height)


@dataclass(frozen=True)
class Rectangle:
    """Rectangular: ``g(u) = 1 / width`` where ``|u| < width / 2``, else 0."""

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive("the width", self.width)

    def __call__(self, u: Tensor) -> Tensor:
        return (u.abs() < self.width / 2).to(u.dtype).div_(self.width)


@dataclass(frozen=True)
class StraightThrough:
    """Straight-through: ``g(u) = 1`` everywhere."""

    def __call__(self, u: Tensor) -> Tensor:
        return torch.ones_like(u)


_KINDS: tuple[type[SurrogateDerivative], ...] = Triangle, Exponential, Rectangle, StraightThrough
SURROGATES = {kind.__name__: kind for kind in _KINDS}
"""Surrogates by name, as recipes and checkpoints spell them."""
