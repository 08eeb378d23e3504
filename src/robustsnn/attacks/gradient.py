"""Gradient attacks: one ascent loop with different starts, goals and balls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.balls import Ball, Linf, Norm, ball
from robustsnn.attacks.goals import CrossEntropy, Goal, Losses, answer, begin
from robustsnn.attacks.starts import Start, Uniform
from robustsnn.seeds import noise
from robustsnn.types import Classifier, Images, Judge, Labels, Logits, PerImage, Randomness

Move = Callable[[Tensor, Tensor], Tensor]
"""``move(gradient [n,C,H,W], index [n]) -> [n,C,H,W]``: the step that the images ``index`` of the batch take."""

Slope = Callable[[Classifier, Tensor, Losses, Tensor], Tensor]
"""``slope(model, x [n,C,H,W], losses, index [n]) -> [n,C,H,W]``: the way up from iterates of the images ``index``."""


def ascend(
    model: Classifier,
    x: Images,
    losses: Losses,
    *,
    ball: Ball,
    start: Images,
    step: float | Move,
    steps: int,
    judge: Judge | None = None,
    gradient: Slope | None = None,
) -> Images:
    """Projected gradient ascent: ``adv <- project(adv + step * direction(gradient))``.

    Arguments:
        model: pixels to logits; its gradient leads, whatever its forward pass is.
        x: clean images ``[N,C,H,W]``.
        losses: what to maximise, image by image.
        start: where to begin, inside the ball.
        step: the size of every step, or what makes a step of a gradient.
        judge: asked after every step; an image it calls broken keeps that iterate and costs nothing more.
        gradient: what to follow, if not `input_gradient`.

    Returns:
        The last iterate of every image, ``[N,C,H,W]``.
    """
    x, adv = x.detach(), start.detach().clone()
    alive = torch.arange(len(x), device=x.device)
    begin(model, len(x))
    for _ in range(steps):
        slope = (gradient or input_gradient)(model, adv[alive], losses, alive)
        delta = step(slope, alive) if callable(step) else step * ball.direction(slope)
        moved = ball.project(adv[alive] + delta, x[alive])
        adv[alive] = moved
        if judge is not None:
            alive = alive[~judge(moved, alive)]
            if not len(alive):
                break
    return adv


def input_gradient(model: Classifier, x: Images, losses: Losses, index: Tensor) -> Images:
    """Gradient of each image's own loss with respect to its pixels, ``[N,C,H,W]``."""
    return differentiate(model, x, losses, index)[2]


def differentiate(model: Classifier, x: Images, losses: Losses, index: Tensor) -> tuple[Logits, PerImage, Images]:
    """Logits ``[N,K]``, loss ``[N]`` and the loss's gradient ``[N,C,H,W]`` of each image, by one forward and one backward."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = answer(model, x, index)
        loss = losses(logits, index)
        # a model that cuts the graph has no gradient at all, which is for an audit to tell
        (gradient,) = torch.autograd.grad(loss.sum(), x) if loss.requires_grad else (torch.zeros_like(x),)
    return logits.detach(), loss.detach(), usable(gradient)


def usable(gradient: Images) -> Images:
    """The gradient, 0 where it is no finite number, so that one pixel does not spoil an image."""
    return gradient.nan_to_num(0.0, 0.0, 0.0)


Run = Callable[[Tensor, Judge | None], Tensor]
"""``run(chosen [n], judge) -> [n,C,H,W]``: one run on some of a batch's images, numbered anew from 0 for the judge."""


def best_of(runs: Sequence[Run], model: Classifier, x: Images, worth: Losses, judge: Judge | None) -> Images:
    """What the best of several runs found, image by image.

    Arguments:
        runs: made one after the other on the images that none has broken yet.
        model, x: what is attacked, and the clean images ``[N,C,H,W]``.
        worth: of two results that break nothing, the one with the higher value is kept.
        judge: numbers images as ``x`` does; what it calls broken is kept and costs nothing more.
    """
    everyone = alive = torch.arange(len(x), device=x.device)
    if len(runs) == 1:
        return runs[0](everyone, judge)
    best, highest = x.detach().clone(), torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
    for run in runs:
        if not len(alive):
            break
        adv = run(alive, None if judge is None else among(judge, alive))
        broken = torch.zeros_like(alive, dtype=torch.bool) if judge is None else judge(adv, alive)
        with torch.no_grad():
            value = worth(answer(model, adv, everyone[: len(alive)]), alive).to(highest.dtype)
        better = broken | (value > highest[alive])
        best[alive[better]], highest[alive[better]] = adv[better], value[better]
        alive = alive[~broken]
    return best


def among(function: Callable[[Tensor, Tensor], Tensor], chosen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Losses, or a judge, of a batch, as they are for the batch of its ``chosen`` images."""
    return lambda values, index: function(values, chosen[index])


def at_least_one(attack: object, **counts: int) -> None:
    """Refuse an attack whose counts, named in the singular, are not whole numbers of at least 1.

    Raises:
        ValueError: naming the attack and the count.
    """
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{type(attack).__name__} needs at least one {name}, a whole number, not {count!r}")


@dataclass(frozen=True)
class FGSM:
    """One step of size ``eps`` along the gradient's sign from the clean image (Goodfellow et al. 2015).

    Raises:
        ValueError: an ``eps`` that is negative or not finite, or an unknown norm.

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
        begin(model, len(x))
        return self.step(x, input_gradient(model, x, losses, torch.arange(len(x), device=x.device)))

    def step(self, x: Images, gradient: Images) -> Images:
        """The images after the one step, given the loss's gradient at ``x``."""
        x = x.detach()
        return self.ball.project(x + self.eps * self.ball.direction(gradient), x)


@dataclass(frozen=True)
class RFGSM:
    """A random step to a corner of size ``alpha * eps``, then a gradient step of the rest (Tramer et al. 2018).

    Raises:
        ValueError: an ``eps`` that is negative or not finite, or ``alpha`` outside [0, 1].
    """

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

    Raises:
        ValueError: an ``eps`` that is negative or not finite, an unknown norm, a count below 1, or a ``stride`` not above 0.
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
        at_least_one(self, step=self.steps, restart=self.restarts)

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return ball(self.norm, self.eps)

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        x, draw = x.detach(), noise(rng)
        losses = self.goal.on(model, x, y)

        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            start = self.start(x, self.ball, draw)[chosen]
            step = self.stride * self.eps / self.steps
            worth = among(losses, chosen)
            return ascend(model, x[chosen], worth, ball=self.ball, start=start, step=step, steps=self.steps, judge=judge)

        return best_of([run] * self.restarts, model, x, losses, judge)
