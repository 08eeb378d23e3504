"""The shape legend and the protocols that the rooms above share.

``T`` time steps, ``N`` images, ``C, H, W`` channels, height and width of an image, ``K`` classes. Where time is folded into
the batch it is time-major: ``[T*N, ...]``. Pixels are float32 in ``[0, 1]``; normalisation is a layer inside the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Inputs = Float[Tensor, "N ..."]
Images = Float[Tensor, "N C H W"]
Labels = Int[Tensor, "N"]
Logits = Float[Tensor, "N K"]
StepLogits = Float[Tensor, "T N K"]
PerImage = Float[Tensor, "N"]

Randomness = torch.Generator | Tensor
"""A generator, or one int64 seed per image: then what an image draws depends on nothing but its own seed."""

Judge = Callable[[Tensor, Tensor], Tensor]
"""``judge(iterates, index) -> broken``: which of the images ``index`` of the batch these iterates already break."""

Classifier = Callable[[Tensor], Tensor]
"""Pixels ``[N,C,H,W]`` to logits ``[N,K]``."""


@runtime_checkable
class Following(Protocol):
    """A classifier with a memory per image, which an attack tells what its batches hold."""

    def begin(self, count: int) -> None:
        """A new run of an attack on ``count`` images: forget everything. `follow` tells which passes belong to it."""
        ...

    def follow(self, index: Tensor) -> None:
        """The next pass is of these images ``[n]`` of the run; a pass without it belongs to none."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Pixels ``[n,C,H,W]`` to logits ``[n,K]``."""
        ...


class Ball(Protocol):
    """A set of allowed images around each image, inside the pixel box; all functions act image by image."""

    @property
    def eps(self) -> float:
        """The radius, in units of pixels in ``[0, 1]``."""
        ...

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """An allowed image near ``adv``; ``adv`` itself where it is allowed."""
        ...

    def direction(self, grad: Tensor) -> Tensor:
        """The step of size 1 that climbs fastest along ``grad``; no step where the gradient is zero."""
        ...


class Attack(Protocol):
    """A value of hyper-parameters that looks for misclassified images near given ones."""

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        ...

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images: ...


class GradientPath(Protocol):
    """How a gradient gets through a network: a value that turns a network into a classifier over the same tensors."""

    def __call__(self, net: nn.Module) -> nn.Module: ...


class Objective(Protocol):
    """What training minimises: a value called on network and batch that returns a scalar loss."""

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: Randomness) -> Tensor: ...
