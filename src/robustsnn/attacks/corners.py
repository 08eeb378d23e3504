"""Noise of the ball's size: the floor that every attack with a gradient must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.balls import Ball, Linf
from robustsnn.attacks.goals import CrossEntropy
from robustsnn.attacks.gradient import at_least_one, best_of
from robustsnn.seeds import Noise, noise
from robustsnn.types import Classifier, Images, Judge, Labels, Randomness


@dataclass(frozen=True)
class UniformNoise:
    """Uniform noise in the L∞ ball, several times.

    Arguments:
        eps: radius of the ball.
        draws: images tried; the first that the judge calls broken is kept, else the one with the highest cross-entropy.
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

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        return _loudest(Linf(self.eps).sample, self.draws, model, x, y, noise(rng), judge)


@dataclass(frozen=True)
class CornerNoise:
    """Random corners ``x ± eps`` of the L∞ ball, cut to the box, several times.

    Arguments:
        eps: radius of the ball.
        draws: images tried; the first that the judge calls broken is kept, else the one with the highest cross-entropy.
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

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        def corner(x: Tensor, noise: Noise) -> Tensor:
            return (x + self.eps * torch.where(noise.uniform(x) < 0.5, -1, 1)).clamp(0, 1)

        return _loudest(corner, self.draws, model, x, y, noise(rng), judge)


def _loudest(
    sample: Callable[[Tensor, Noise], Tensor],
    draws: int,
    model: Classifier,
    x: Tensor,
    y: Tensor,
    draw: Noise,
    judge: Judge | None,
) -> Tensor:
    x = x.detach()

    def run(chosen: Tensor, judge: Judge | None) -> Tensor:
        return sample(x, draw)[chosen]

    return best_of([run] * draws, model, x, CrossEntropy().on(model, x, y), judge)
