"""Adversarial training with one gradient step per batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import PGD, CrossEntropy, Linf, ascend
from robustsnn.seeds import noise as draws
from robustsnn.training.objectives import Robust
from robustsnn.types import Attack, Classifier, Images, Judge, Labels, Randomness


@dataclass(frozen=True)
class FastAdversarial(Robust):
    """``CE(f(x'), y)`` with x' one step of 1.25 eps from a random start (Wong et al. 2020).

    Fast, and prone to catastrophic overfitting: train with ``stop=CatastrophicOverfitting()``.
    """

    eps: float = 2 / 255

    def attack(self) -> Attack:
        return PGD(self.eps, steps=1, stride=1.25)

    def loss(self, net: nn.Module, x: Images, adversarial: Images, y: Labels) -> Tensor:
        return F.cross_entropy(net(adversarial), y)


@dataclass(frozen=True)
class NoisyFast(Robust):
    """``CE(f(x'), y)`` with x' one step of ``eps`` from an image with noise, the sum not projected (N-FGSM).

    The noise is uniform in ``[-noise * eps, noise * eps]``, so x' may lie ``(1 + noise) * eps`` from x: what it teaches holds
    at ``eps``, without the catastrophic overfitting of `FastAdversarial` (de Jorge et al. 2022).

    Arguments:
        eps: the step, and the radius that training is for.
        noise: in units of ``eps``.
        smoothing: of the labels, in ``[0, 1)``.
    """

    eps: float = 8 / 255
    noise: float = 2.0
    smoothing: float = 0.0

    def attack(self) -> Attack:
        return NoisyStep(self.eps, self.noise)

    def loss(self, net: nn.Module, x: Images, adversarial: Images, y: Labels) -> Tensor:
        return F.cross_entropy(net(adversarial), y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class NoisyStep:
    """``clip(x + u + eps * sign(gradient at x + u), 0, 1)`` with ``u`` uniform in ``[-noise * eps, noise * eps]``.

    Raises:
        ValueError: ``eps`` or ``noise`` negative, or together beyond the pixel range.
    """

    eps: float
    noise: float

    def __post_init__(self) -> None:
        Linf(self.eps)
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise, in units of eps, must be a finite number of at least 0, not {self.noise!r}")

    @property
    def ball(self) -> Linf:
        """Where the result lies: in a larger ball than that of ``eps``."""
        return Linf(min(1.0, (1 + self.noise) * self.eps))

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        start = (x + self.noise * self.eps * (2 * draws(rng).uniform(x) - 1)).clamp(0, 1)
        losses = CrossEntropy().on(model, x, y)
        return ascend(model, x, losses, ball=self.ball, start=start, step=self.eps, steps=1, judge=judge)
