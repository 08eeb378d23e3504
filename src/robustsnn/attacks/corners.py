"""Noise of the threat's size: the floor that every attack with a gradient must beat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.checks import accepted, at_least_one
from robustsnn.attacks.goals import CrossEntropy, begin
from robustsnn.attacks.gradient import best_of
from robustsnn.seeds import noise
from robustsnn.threats import Ball
from robustsnn.types import Classifier, Inputs, Judge, Kinds, Labels, Noise, Randomness, Threat


@dataclass(frozen=True)
class _Draws(ABC):
    """Noise in the ball, several times.

    Arguments:
        draws: samples tried; the first that the judge calls broken is kept, else the one with the highest cross-entropy.

    Raises:
        ValueError: a count below 1.
    """

    follows: ClassVar[Kinds] = (Ball,)
    draws: int = 10

    def __post_init__(self) -> None:
        at_least_one(self, draw=self.draws)

    @abstractmethod
    def sample(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        """One noisy sample for each of ``x [N, ...]``."""

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        threat, x, draw = accepted(self, threat), x.detach(), noise(rng)

        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            begin(model, len(chosen))
            return self.sample(x, threat, draw)[chosen]

        return best_of([run] * self.draws, model, x, CrossEntropy().on(model, x, y), judge)


class UniformNoise(_Draws):
    """Uniform noise in the ball, ``draws`` times."""

    def sample(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        return threat.sample(x, noise)


class CornerNoise(_Draws):
    """A whole step along random signs, ``draws`` times: a corner ``x ± eps`` of the L-infinity ball, or of the cube inside of
    another ball."""

    def sample(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        signs = torch.where(noise.uniform(x) < 0.5, -1, 1).to(x.dtype)
        return threat.project(x + threat.eps * threat.direction(signs), x)
