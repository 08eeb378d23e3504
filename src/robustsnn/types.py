"""The shape legend and the protocols that all modules share.

``T`` time steps, ``N`` images, ``C, H, W`` channels, height and width of an image, ``K`` classes. Time is folded into the
batch in time-major order: ``[T*N, ...]``. Pixels are float32 in ``[0, 1]``; normalisation is a layer of the network.
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
"""A generator, or one int64 seed per image, so that an image's noise depends only on its own seed. None: a generator with a
fixed seed (`seeds.given`)."""

Kinds = tuple[type[Any], ...]
"""Classes of threats."""

Judge = Callable[[Tensor, Tensor], Tensor]
"""``judge(iterates [n, ...], index [n]) -> broken [n]``: whether the network misclassifies these iterates of the samples
``index`` (positions in the attack's batch). An attack must return these iterates: only what it returns counts."""

Classifier = Callable[[Tensor], Tensor]
"""Maps pixels ``[N,C,H,W]`` to logits ``[N,K]``."""


class Noise(Protocol):
    """A noise source for attacks."""

    def uniform(self, like: Tensor) -> Tensor:
        """Return values in ``[0, 1)`` with the shape and type of ``like [N, ...]``."""
        ...

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal values with the shape and type of ``like [N, ...]``."""
        ...


@runtime_checkable
class Following(Protocol):
    """A classifier with a memory per image; an attack announces which images its batches hold."""

    def begin(self, count: int) -> None:
        """Start a run of an attack on ``count`` images and clear the memory. `follow` announces the passes of the run."""
        ...

    def follow(self, index: Tensor) -> None:
        """Announce that the next pass is of images ``index [n]`` of the run; an unannounced pass belongs to no run."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Map pixels ``[n,C,H,W]`` to logits ``[n,K]``."""
        ...


class Threat(Protocol):
    """What an adversary may do to a sample: a frozen value of one kind and radius. Methods act per sample on ``[N, ...]``."""

    words: ClassVar[str]
    """The kind in words, as in reports."""

    @property
    def axis(self) -> tuple[float, str]:
        """Factor on radii in figures, and the label of that axis."""
        ...

    @property
    def eps(self) -> float:
        """The radius, in the unit of the kind."""
        ...

    @property
    def usual(self) -> tuple[float, ...]:
        """The default radii of the kind in an evaluation."""
        ...

    @property
    def takes(self) -> str:
        """The values of samples in words: ``in [0, 1]``."""
        ...

    @property
    def spelled(self) -> str:
        """The threat as reports write it: ``8/255``, ``L2 0.5``."""
        ...

    def scaled(self, eps: float) -> Threat:
        """Return the same kind with another radius."""
        ...

    def wider(self, x: Tensor) -> list[Threat]:
        """Return threats of larger radii for samples like ``x``, up to one that allows every sample; none if there is none."""
        ...

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return an allowed sample near ``adv``, or ``adv`` itself if it is allowed."""
        ...

    def contains(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return which samples ``adv`` are allowed around ``x``, ``[N]``, with a tolerance of 1e-6."""
        ...

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Return a random allowed sample."""
        ...


class Attack(Protocol):
    """An adversarial attack: hyper-parameters that search for misclassified samples within a threat."""

    follows: ClassVar[Kinds]
    """Threat classes that the attack supports."""

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        """Return samples that should be misclassified.

        Arguments:
            model: maps samples ``[n, ...]``, any part of the batch, to logits ``[n, K]``.
            x: samples ``[N, ...]``.
            y: their labels ``[N]``.
            threat: the allowed changes.
            rng: randomness of the starts.
            judge: called on iterates during the attack if each of them counts; None: only the last one counts.

        Returns:
            Samples ``[N, ...]``. An evaluation projects them into the threat again before it judges them.
        """
        ...


class GradientPath(Protocol):
    """How a gradient gets through a network: a value that turns a network into a classifier over the same tensors."""

    def __call__(self, net: nn.Module) -> nn.Module: ...


class Objective(Protocol):
    """A training objective: a value called on network and batch that returns a scalar loss."""

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: Randomness) -> Tensor: ...


class Logger(Protocol):
    """A logger of training figures: any logger of Lightning."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the figures of one epoch, by name."""
        ...
