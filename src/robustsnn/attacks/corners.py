"""Noise of the ball's size: the floor that every attack with a gradient must beat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.balls import Ball, Linf
from robustsnn.attacks.goals import CrossEntropy, begin
from robustsnn.attacks.gradient import at_least_one, best_of
from robustsnn.seeds import Noise, noise
from robustsnn.types import Classifier, Images, Judge, Labels, Randomness


@dataclass(frozen=True)
class _Draws(ABC):
    """Noise in the L∞ ball, several times.

    Arguments:
        eps: radius of the ball.
        draws: images tried; the first that the judge calls broken is kept, else the one with the highest cross-entropy.

    Raises:
        ValueError: an ``eps`` that is negative or not finite, or a count below 1.
    """

    eps: float = 8 / 255
    draws: int = 10

    def __post_init__(self) -> None:
        Linf(self.eps)
        at_least_one(self, draw=self.draws)

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return Linf(self.eps)

    @abstractmethod
    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """One noisy image for each of ``x [N,C,H,W]``."""

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        x, draw = x.detach(), noise(rng)

        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            begin(model, len(chosen))
            return self.sample(x, draw)[chosen]

        return best_of([run] * self.draws, model, x, CrossEntropy().on(model, x, y), judge)


class UniformNoise(_Draws):
    """Uniform noise in the L∞ ball of radius ``eps``, ``draws`` times."""

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        return Linf(self.eps).sample(x, noise)


class CornerNoise(_Draws):
    """Random corners ``x ± eps`` of the L∞ ball, cut to the box, ``draws`` times."""

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        return (x + self.eps * torch.where(noise.uniform(x) < 0.5, -1, 1)).clamp(0, 1)
