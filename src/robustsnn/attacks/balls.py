"""Norm balls around images, cut to the pixel box ``[0, 1]``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from robustsnn import types
from robustsnn.seeds import Noise

Norm = Literal["Linf", "L2"]


class Ball(types.Ball, Protocol):
    """A ball that random starts can be drawn from."""

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """A random allowed image."""
        ...


@dataclass(frozen=True)
class Linf:
    """``|adv - x| <= eps`` in every pixel.

    Raises:
        ValueError: an ``eps`` outside of ``[0, 1]``, as pixels are.
    """

    eps: float

    def __post_init__(self) -> None:
        _radius(self.eps)
        if self.eps > 1:
            raise ValueError(f"eps must be at most 1, since pixels are in [0, 1], not {self.eps:g}: write {self.eps:g}/255?")

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        return torch.clamp(adv, x - self.eps, x + self.eps).clamp_(0, 1)

    def direction(self, grad: Tensor) -> Tensor:
        return grad.sign()

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        return self.project(x + self.eps * (2 * noise.uniform(x) - 1), x)


@dataclass(frozen=True)
class L2:
    """``||adv - x||_2 <= eps`` over all pixels of an image.

    Raises:
        ValueError: an ``eps`` that is negative or not finite.
    """

    eps: float

    def __post_init__(self) -> None:
        _radius(self.eps)

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        delta = adv - x
        return (x + delta * (self.eps / _length(delta)).clamp(max=1)).clamp_(0, 1)

    def direction(self, grad: Tensor) -> Tensor:
        return grad / _length(grad)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        outward = self.direction(noise.normal(x))
        radius = noise.uniform(x[:, :1, :1, :1]) ** (1 / x[0].numel()) if len(x) else 1.0
        return self.project(x + self.eps * radius * outward, x)


def _length(delta: Tensor) -> Tensor:
    """Euclidean length per image, never 0; scaled before it is squared, so that nothing underflows."""
    flat = delta.flatten(1)
    scale = flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(delta.dtype).tiny)
    length: Tensor = (flat / scale).norm(dim=1, keepdim=True) * scale
    return length.clamp_min(torch.finfo(delta.dtype).tiny).view(-1, *[1] * (delta.dim() - 1))


def _radius(eps: float) -> None:
    if not isinstance(eps, int | float) or not 0 <= eps < math.inf:
        raise ValueError(f"eps must be a finite number of at least 0, not {eps!r}; pixels are in [0, 1]")


def ball(norm: Norm, eps: float) -> Ball:
    """The ball of a norm by its name.

    Raises:
        ValueError: an unknown norm, or a radius that it cannot have.
    """
    if norm not in ("Linf", "L2"):
        raise ValueError(f"norm must be 'Linf' or 'L2', not {norm!r}")
    return Linf(eps) if norm == "Linf" else L2(eps)
