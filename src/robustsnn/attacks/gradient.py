"""Gradient attacks: one ascent loop with different starts, goals and balls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.balls import Ball, Linf, Norm, ball
from robustsnn.attacks.goals import CrossEntropy, Goal, Losses
from robustsnn.seeds import Noise, noise
from robustsnn.types import Classifier, Images, Judge, Labels, Randomness


def ascend(
    model: Classifier,
    x: Images,
    losses: Losses,
    *,
    ball: Ball,
    start: Images,
    step: float,
    steps: int,
    judge: Judge | None = None,
) -> Images:
    """Projected gradient ascent: ``adv <- project(adv + step * direction(gradient))``.

    Arguments:
        model: pixels to logits; its gradient leads, whatever its forward pass is.
        x: clean images ``[N,C,H,W]``.
        losses: what to maximise, image by image.
        start: where to begin, inside the ball.
        judge: asked after every step; an image it calls broken keeps that iterate and costs nothing more.

    Returns:
        The last iterate of every image, ``[N,C,H,W]``.
    """
    x, adv = x.detach(), start.detach().clone()
    alive = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        gradient = input_gradient(model, adv[alive], losses, alive)
        moved = ball.project(adv[alive] + step * ball.direction(gradient), x[alive])
        adv[alive] = moved
        if judge is not None:
            alive = alive[~judge(moved, alive)]
            if not len(alive):
                break
    return adv


def input_gradient(model: Classifier, x: Images, losses: Losses, index: Tensor) -> Images:
    """Gradient of each image's own loss with respect to its pixels, ``[N,C,H,W]``."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        total = losses(model(x), index).sum()
        (gradient,) = torch.autograd.grad(total, x)
    return gradient


Start = Callable[[Tensor, Ball, Noise], Tensor]
"""``start(x, ball, noise)``: the first iterate."""


@dataclass(frozen=True)
class Uniform:
    """Anywhere in the ball."""

    def __call__(self, x: Tensor, ball: Ball, noise: Noise) -> Tensor:
        return ball.sample(x, noise)


@dataclass(frozen=True)
class Gaussian:
    """``x + scale * N(0, 1)``, projected."""

    scale: float = 0.001

    def __call__(self, x: Tensor, ball: Ball, noise: Noise) -> Tensor:
        return ball.project(x + self.scale * noise.normal(x), x)


@dataclass(frozen=True)
class FGSM:
    """One step of size ``eps`` along the gradient's sign from the clean image (Goodfellow et al. 2015).

    >>> FGSM(0.1)(torch.nn.Flatten(), torch.full((1, 2, 1, 1), 0.5), torch.tensor([0]), rng=torch.Generator()).flatten()
    tensor([0.4000, 0.6000])
    """

    eps: float = 8 / 255
    goal: Goal = CrossEntropy()
    norm: Norm = "Linf"

    def __post_init__(self) -> None:
        ball(self.norm, self.eps)

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return ball(self.norm, self.eps)

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        losses = self.goal.on(model, x, y)
        return ascend(model, x, losses, ball=self.ball, start=x, step=self.eps, steps=1, judge=judge)


@dataclass(frozen=True)
class RFGSM:
    """A random step to a corner of size ``alpha * eps``, then a gradient step of the rest (Tramer et al. 2018)."""

    eps: float = 8 / 255
    alpha: float = 0.25
    goal: Goal = CrossEntropy()

    def __post_init__(self) -> None:
        Linf(self.eps)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is the share of eps that the random step takes, in [0, 1], not {self.alpha}")

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return Linf(self.eps)

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        losses = self.goal.on(model, x, y)
        random = self.alpha * self.eps
        start = (x + random * noise(rng).normal(x).sign()).clamp_(0, 1)
        return ascend(model, x, losses, ball=self.ball, start=start, step=self.eps - random, steps=1, judge=judge)


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent from a random start (Madry et al. 2018).

    Arguments:
        eps: radius of the ball.
        steps: gradient steps of size ``stride * eps / steps``.
        restarts: independent starts; without a judge the one with the highest loss is kept, image by image.
        goal, start, norm: what to maximise, where to begin, which ball.
        stride: how far all steps together reach, in units of ``eps``.
    """

    eps: float = 8 / 255
    steps: int = 20
    restarts: int = 1
    goal: Goal = CrossEntropy()
    start: Start = Uniform()
    norm: Norm = "Linf"
    stride: float = 2.5

    def __post_init__(self) -> None:
        ball(self.norm, self.eps)
        if not 0 < self.stride < math.inf:
            raise ValueError(f"stride, the steps' total in units of eps, must be greater than 0, not {self.stride}")
        if any(not isinstance(count, int) or count < 1 for count in (self.steps, self.restarts)):
            raise ValueError(f"PGD needs at least one step and one restart, whole numbers, not {self.steps}, {self.restarts}")

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return ball(self.norm, self.eps)

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        x, draw = x.detach(), noise(rng)
        losses = self.goal.on(model, x, y)
        everyone = torch.arange(len(x), device=x.device)
        best, best_loss = x.detach(), torch.full((len(x),), -torch.inf, device=x.device)
        for _ in range(self.restarts):
            start = self.start(x, self.ball, draw)
            step = self.stride * self.eps / self.steps
            adv = ascend(model, x, losses, ball=self.ball, start=start, step=step, steps=self.steps, judge=judge)
            if self.restarts == 1:
                return adv
            with torch.no_grad():
                loss = losses(model(adv), everyone)
            if judge is not None:
                loss = torch.where(judge(adv, everyone), torch.inf, loss)
            better = loss > best_loss
            best, best_loss = torch.where(better.view(-1, 1, 1, 1), adv, best), torch.where(better, loss, best_loss)
        return best
