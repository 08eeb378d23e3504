"""Adversarial training with one gradient step per batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks import PGD, CrossEntropy, EventPGD
from robustsnn.attacks.gradient import input_gradient
from robustsnn.attacks.own import OwnAttack, Task
from robustsnn.ranges import BelowOne, NotNegative
from robustsnn.threats import Ball, EventThreat
from robustsnn.training.objectives import Robust, within
from robustsnn.types import Attack, Threat


@dataclass(frozen=True)
class FastAdversarial(Robust):
    """Single-step adversarial training: ``CE(f(x'), y)`` with x' one step of 1.25 eps from a random start (Wong et al. 2020).

    It is prone to catastrophic overfitting: train with ``stop=CatastrophicOverfitting()``.
    """

    eps: float = 2 / 255
    threat: Threat | None = None

    def attack(self) -> Attack:
        return EventPGD(1) if isinstance(within(self), EventThreat) else PGD(steps=1, stride=1.25)


@dataclass(frozen=True)
class NoisyFast(Robust):
    """N-FGSM: ``CE(f(x'), y)`` with x' one step of ``eps`` from a noisy image, not projected (de Jorge et al. 2022).

    The noise is uniform in the ball of radius ``noise * eps``, so x' may lie ``(1 + noise) * eps`` from x. The network becomes
    robust at ``eps``, without the catastrophic overfitting of `FastAdversarial`.

    Arguments:
        eps: step size, and the radius to train for.
        noise: radius of the noise in units of ``eps``.
        smoothing: label smoothing.
    """

    eps: float = 8 / 255
    noise: NotNegative = 2.0
    smoothing: BelowOne = 0.0
    threat: Threat | None = None

    def attack(self) -> Attack:
        return NoisyStep(self.noise)


@dataclass(frozen=True)
class NoisyStep(OwnAttack):
    """``x + u + eps * direction(gradient at x + u)``, clipped to the box, with ``u`` uniform in the ball of radius
    ``noise * eps``. The result may lie ``(1 + noise) * eps`` from x, outside the threat."""

    noise: NotNegative

    def search(self, task: Task) -> Tensor:
        model, x = task.model, task.x
        ball: Ball = task.threat
        start = ball.boxed(x + self.noise * ball.eps * ball.random(x, task.noise))
        gradient = input_gradient(model, start, CrossEntropy().on(model, x, task.y), torch.arange(len(x), device=x.device))
        return ball.boxed(start + ball.eps * ball.direction(gradient))
