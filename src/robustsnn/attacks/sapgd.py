"""SA-PGD: ascent with momentum and a step size per pixel, for networks whose gradients are small or uneven."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.checks import accepted, at_least_one
from robustsnn.attacks.goals import CrossEntropy, Goal
from robustsnn.attacks.gradient import Move, among, ascend, best_of
from robustsnn.attacks.starts import Boundary
from robustsnn.seeds import given, noise, portion
from robustsnn.threats import Ball, per_sample, positive
from robustsnn.types import Classifier, Inputs, Judge, Kinds, Labels, Randomness, Threat


def step_sizes(steps: int) -> list[float]:
    """η of every step, in units of ``eps``.

    It halves after ``k`` steps, then ``k <- max(k - max(⌊.03n⌋, 1), max(⌊.06n⌋, 1))``, from ``k = max(⌊.22n⌋, 1)``.

    >>> step_sizes(10)[:5]
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """
    k, less, least = (max(hundredths * steps // 100, 1) for hundredths in (22, 3, 6))
    sizes: list[float] = []
    eta = 1.0
    while len(sizes) < steps:
        sizes += [eta] * k
        eta, k = eta / 2, max(k - less, least)
    return sizes[:steps]


@dataclass(frozen=True)
class SAPGD:
    """PGD with running means of gradients and of their squares (arXiv 2512.22522).

    With ``ĝ = g / mean|g|`` and ``q = g² / mean(g²)`` of a sample, ``m <- .5 m + ĝ``, ``v <- .8 v + q``, a step is
    ``clip(η m / (√v + 1e-12), -η, η)``, under another norm the same shortened to a length of η. Where a gradient is zero,
    ``ĝ`` is a random sign.

    Arguments:
        steps: gradient steps; 100 or more are meant, since of few η halves after each. Fewer are for trying out.
        restarts: independent starts; without a judge the one with the highest loss is kept, image by image.
        goal: what to maximise.

    Raises:
        ValueError: a count below 1.
    """

    follows: ClassVar[Kinds] = (Ball,)
    steps: int = 100
    restarts: int = 1
    goal: Goal = CrossEntropy()

    def __post_init__(self) -> None:
        at_least_one(self, step=self.steps, restart=self.restarts)

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        ball, x, rng = accepted(self, threat), x.detach(), given(rng)
        draw = noise(rng)
        losses = self.goal.on(model, x, y)

        def attempt(number: int, chosen: Tensor, judge: Judge | None) -> Tensor:
            start = Boundary()(x, ball, draw)[chosen]
            signs = portion(rng, chosen, "restart", number)
            step = _adaptive([ball.eps * size for size in step_sizes(self.steps)], x[chosen], ball, signs)
            goal = among(losses, chosen)
            return ascend(model, x[chosen], goal, threat=ball, start=start, step=step, steps=self.steps, judge=judge)

        return best_of([partial(attempt, number) for number in range(self.restarts)], model, x, losses, judge)


def _adaptive(etas: list[float], x: Tensor, threat: Ball, rng: Randomness) -> Move:
    """The steps of one run on samples ``x [N, ...]``, one η after the other."""
    m, v, schedule = torch.zeros_like(x), torch.zeros_like(x), enumerate(etas)

    def move(gradient: Tensor, index: Tensor) -> Tensor:
        number, eta = next(schedule)
        zero = (gradient == 0).flatten(1).all(1)
        if zero.any():
            gradient = gradient.clone()
            drawn = noise(portion(rng, index[zero], "sign", number)).uniform(gradient[zero])
            gradient[zero] = torch.where(drawn < 0.5, -1.0, 1.0).to(gradient.dtype)
        scaled = gradient / positive(per_sample(torch.amax, gradient.abs()))  # the squares of small gradients would be 0
        scaled = scaled / per_sample(torch.mean, scaled.abs())
        squares = scaled.square() / per_sample(torch.mean, scaled.square())
        m[index] = 0.5 * m[index] + scaled
        v[index] = 0.8 * v[index] + squares
        return threat.shorten(eta * m[index] / (v[index].sqrt() + 1e-12), eta)

    return move
