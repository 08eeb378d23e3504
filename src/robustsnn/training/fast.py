"""Adversarial training with one gradient step per batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks import PGD, CrossEntropy
from robustsnn.attacks.gradient import input_gradient
from robustsnn.attacks.own import OwnAttack, Task
from robustsnn.ranges import BelowOne, NotNegative
from robustsnn.threats import Ball
from robustsnn.training.objectives import Robust
from robustsnn.types import Attack, Threat


@dataclass(frozen=True)
class FastAdversarial(Robust):
    """``CE(f(x'), y)`` with x' one step of 1.25 eps from a random start (Wong et al. 2020).

    Fast, and prone to catastrophic overfitting: train with ``stop=CatastrophicOverfitting()``.
    """

    eps: float = 2 / 255
    threat: Threat | None = None

    def attack(self) -> Attack:
        return PGD(steps=1, stride=1.25)


@dataclass(frozen=True)
class NoisyFast(Robust):
    """``CE(f(x'), y)`` with x' one step of ``eps`` from an image with noise, the sum not projected (N-FGSM).

    The noise is uniform in the ball of radius ``noise * eps``, so x' may lie ``(1 + noise) * eps`` from x: what it teaches
    holds at ``eps``, without the catastrophic overfitting of `FastAdversarial` (de Jorge et al. 2022).

    Arguments:
        eps: the step, and the radius that training is for.
        noise: in units of ``eps``.
        smoothing: of the labels.
    """

    eps: float = 8 / 255
    noise: NotNegative = 2.0
    smoothing: BelowOne = 0.0
    threat: Threat | None = None

    def attack(self) -> Attack:
        return NoisyStep(self.noise)


@dataclass(frozen=True)
class NoisyStep(OwnAttack):
    """``x + u + eps * direction(gradient at x + u)``, cut to the box, ``u`` uniform in the ball of radius ``noise * eps``: it
    may lie ``(1 + noise) * eps`` from x, outside of the threat."""

    noise: NotNegative

    def search(self, task: Task) -> Tensor:
        model, x = task.model, task.x
        ball: Ball = task.threat
        start = ball.boxed(x + self.noise * ball.eps * ball.random(x, task.noise))
        gradient = input_gradient(model, start, CrossEntropy().on(model, x, task.y), torch.arange(len(x), device=x.device))
        return ball.boxed(start + ball.eps * ball.direction(gradient))
