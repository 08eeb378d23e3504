"""Adversarial training with one gradient step per batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import PGD, CrossEntropy, accepted
from robustsnn.attacks.gradient import input_gradient
from robustsnn.seeds import noise as draws
from robustsnn.threats import Ball
from robustsnn.training.objectives import Robust
from robustsnn.types import Attack, Classifier, Inputs, Judge, Kinds, Labels, Randomness, Threat


@dataclass(frozen=True)
class FastAdversarial(Robust):
    """``CE(f(x'), y)`` with x' one step of 1.25 eps from a random start (Wong et al. 2020).

    Fast, and prone to catastrophic overfitting: train with ``stop=CatastrophicOverfitting()``.
    """

    eps: float = 2 / 255
    threat: Threat | None = None

    def attack(self) -> Attack:
        return PGD(steps=1, stride=1.25)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        return F.cross_entropy(net(adversarial), y)


@dataclass(frozen=True)
class NoisyFast(Robust):
    """``CE(f(x'), y)`` with x' one step of ``eps`` from an image with noise, the sum not projected (N-FGSM).

    The noise is uniform in the ball of radius ``noise * eps``, so x' may lie ``(1 + noise) * eps`` from x: what it teaches
    holds at ``eps``, without the catastrophic overfitting of `FastAdversarial` (de Jorge et al. 2022).

    Arguments:
        eps: the step, and the radius that training is for.
        noise: in units of ``eps``.
        smoothing: of the labels, in ``[0, 1)``.
    """

    eps: float = 8 / 255
    noise: float = 2.0
    smoothing: float = 0.0
    threat: Threat | None = None

    def attack(self) -> Attack:
        return NoisyStep(self.noise)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        return F.cross_entropy(net(adversarial), y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class NoisyStep:
    """``x + u + eps * direction(gradient at x + u)``, cut to the box, ``u`` uniform in the ball of radius ``noise * eps``: it
    may lie ``(1 + noise) * eps`` from x, outside of the threat.

    Raises:
        ValueError: ``noise`` negative or not finite.
    """

    follows: ClassVar[Kinds] = (Ball,)
    noise: float

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise, in units of eps, must be a finite number of at least 0, not {self.noise!r}")

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        ball: Ball = accepted(self, threat)
        start = ball.boxed(x + self.noise * ball.eps * ball.random(x, draws(rng)))
        losses = CrossEntropy().on(model, x, y)
        gradient = input_gradient(model, start, losses, torch.arange(len(x), device=x.device))
        return ball.boxed(start + ball.eps * ball.direction(gradient))
