"""The shape legend and the protocols that the rooms above share.

``T`` time steps, ``N`` images, ``C, H, W`` channels, height and width of an image, ``K`` classes. Where time is folded into
the batch it is time-major: ``[T*N, ...]``. Pixels are float32 in ``[0, 1]``; normalisation is a layer inside the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "N C H W"]
Inputs = Float[Tensor, "N ..."]
Labels = Int[Tensor, "N"]
Logits = Float[Tensor, "N K"]
StepLogits = Float[Tensor, "T N K"]
PerImage = Float[Tensor, "N"]

Randomness = torch.Generator | Tensor | None
"""A generator, or one int64 seed per image: then what an image draws depends on nothing but its own seed. None: a generator
that always begins alike (`seeds.given`)."""

Kinds = tuple[type[Any], ...]
"""Kinds of threat."""

Judge = Callable[[Tensor, Tensor], Tensor]
"""``judge(iterates [n, ...], index [n]) -> broken [n]``, booleans: which of the samples ``index``, places in the attack's
batch, the network misclassifies at these iterates. Return that iterate for them: only what an attack returns counts."""

Classifier = Callable[[Tensor], Tensor]
"""Pixels ``[N,C,H,W]`` to logits ``[N,K]``."""


class Noise(Protocol):
    """Where an attack draws from."""

    def uniform(self, like: Tensor) -> Tensor:
        """Values in ``[0, 1)`` of the shape and type of ``like [N, ...]``."""
        ...

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal values of the shape and type of ``like [N, ...]``."""
        ...


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


class Threat(Protocol):
    """What an adversary may do to each sample: a frozen value of one kind and one radius. All functions act sample by sample,
    on ``[N, ...]`` of any rank."""

    words: ClassVar[str]
    """The kind in words, as reports say it."""
    axis: ClassVar[tuple[float, str]]
    """By what figures multiply radii, and what they write at that axis."""

    @property
    def eps(self) -> float:
        """The radius, in units of the kind."""
        ...

    @property
    def spelled(self) -> str:
        """How reports write it: ``8/255``, ``L2 0.5``."""
        ...

    def scaled(self, eps: float) -> Threat:
        """The same kind at another radius."""
        ...

    def widest(self, x: Tensor) -> float:
        """The radius from which on everything is allowed, for samples like ``x``."""
        ...

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """An allowed sample near ``adv``; ``adv`` itself where it is allowed."""
        ...

    def contains(self, adv: Tensor, x: Tensor) -> Tensor:
        """Which samples ``adv`` are allowed around ``x``, ``[N]``, up to a tolerance of 1e-6."""
        ...

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """A random allowed sample."""
        ...

    def direction(self, grad: Tensor) -> Tensor:
        """The step of size 1 that climbs fastest along ``grad``; no step where the gradient is zero."""
        ...


class Attack(Protocol):
    """A value of hyper-parameters that looks for misclassified samples near given ones, as far as a threat allows."""

    follows: ClassVar[Kinds]
    """The kinds of threat that it can follow."""

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        """Samples that are meant to be misclassified.

        Arguments:
            model: samples ``[n, ...]`` to logits ``[n, K]``, of any part of the batch.
            x: samples ``[N, ...]``.
            y: their labels ``[N]``.
            threat: how far they may be moved.
            rng: what random starts depend on.
            judge: is asked about iterates on the way, where each of them counts; None: the last one counts.

        Returns:
            ``[N, ...]``. An evaluation projects them into the threat once more, then looks which are misclassified.
        """
        ...


class GradientPath(Protocol):
    """How a gradient gets through a network: a value that turns a network into a classifier over the same tensors."""

    def __call__(self, net: nn.Module) -> nn.Module: ...


class Objective(Protocol):
    """What training minimises: a value called on network and batch that returns a scalar loss."""

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: Randomness) -> Tensor: ...


class Logger(Protocol):
    """Who is told the figures of a training: any logger of Lightning."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Figures by name, of one epoch."""
        ...
