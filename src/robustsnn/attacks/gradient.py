"""Gradient attacks: one ascent loop with different starts and goals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.checks import accepted, at_least_one
from robustsnn.attacks.goals import CrossEntropy, Goal, Losses, answer, begin
from robustsnn.attacks.starts import Start, Uniform
from robustsnn.seeds import noise
from robustsnn.threats import Ball
from robustsnn.types import Classifier, Inputs, Judge, Kinds, Labels, Logits, PerImage, Randomness, Threat

Move = Callable[[Tensor, Tensor], Tensor]
"""``move(gradient [n, ...], index [n]) -> [n, ...]``: the step that the samples ``index`` of the batch take."""

Slope = Callable[[Classifier, Tensor, Losses, Tensor], Tensor]
"""``slope(model, x [n, ...], losses, index [n]) -> [n, ...]``: the way up from iterates of the samples ``index``."""


def ascend(
    model: Classifier,
    x: Inputs,
    losses: Losses,
    *,
    threat: Threat,
    start: Inputs,
    step: float | Move,
    steps: int,
    judge: Judge | None = None,
    gradient: Slope | None = None,
) -> Inputs:
    """Projected gradient ascent: ``adv <- project(adv + step * direction(gradient))``.

    Arguments:
        model: samples to logits; its gradient leads, whatever its forward pass is.
        x: clean samples ``[N, ...]``.
        losses: what to maximise, sample by sample.
        start: where to begin, inside the threat.
        step: the size of every step, or what makes a step of a gradient.
        judge: asked after every step; a sample it calls broken keeps that iterate and costs nothing more.
        gradient: what to follow, if not `input_gradient`.

    Returns:
        The last iterate of every sample, ``[N, ...]``.
    """
    x, adv = x.detach(), start.detach().clone()
    alive = torch.arange(len(x), device=x.device)
    begin(model, len(x))
    for _ in range(steps):
        slope = (gradient or input_gradient)(model, adv[alive], losses, alive)
        delta = step(slope, alive) if callable(step) else step * threat.direction(slope)
        moved = threat.project(adv[alive] + delta, x[alive])
        adv[alive] = moved
        if judge is not None:
            alive = alive[~judge(moved, alive)]
            if not len(alive):
                break
    return adv


def input_gradient(model: Classifier, x: Inputs, losses: Losses, index: Tensor) -> Inputs:
    """Gradient of each sample's own loss with respect to its values, ``[N, ...]``."""
    return differentiate(model, x, losses, index)[2]


def differentiate(model: Classifier, x: Inputs, losses: Losses, index: Tensor) -> tuple[Logits, PerImage, Inputs]:
    """Logits ``[N,K]``, loss ``[N]`` and the loss's gradient ``[N, ...]`` of each image, by one forward and one backward."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = answer(model, x, index)
        loss = losses(logits, index)
        # a model that cuts the graph has no gradient at all, which is for an audit to tell
        (gradient,) = torch.autograd.grad(loss.sum(), x) if loss.requires_grad else (torch.zeros_like(x),)
    return logits.detach(), loss.detach(), usable(gradient)


def usable(gradient: Inputs) -> Inputs:
    """The gradient, 0 where it is not finite, so that one value does not spoil a sample."""
    return gradient.nan_to_num(0.0, 0.0, 0.0)


Run = Callable[[Tensor, Judge | None], Tensor]
"""``run(chosen [n], judge) -> [n, ...]``: one run on some of a batch's samples, numbered anew from 0 for the judge."""


def best_of(runs: Sequence[Run], model: Classifier, x: Inputs, worth: Losses, judge: Judge | None) -> Inputs:
    """What the best of several runs found, sample by sample.

    Arguments:
        runs: made one after the other on the samples that none has broken yet.
        model, x: what is attacked, and the clean samples ``[N, ...]``.
        worth: of two results that break nothing, the one with the higher value is kept.
        judge: numbers samples as ``x`` does; what it calls broken is kept and costs nothing more.
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
    """Losses, or a judge, of a batch, as they are for the batch of its ``chosen`` samples."""
    return lambda values, index: function(values, chosen[index])


@dataclass(frozen=True)
class FGSM:
    """One step of the threat's radius along the gradient, its sign under L-infinity, from the clean sample (Goodfellow et al.
    2015).

    >>> from robustsnn.threats import Linf
    >>> FGSM()(torch.nn.Flatten(), torch.full((1, 2, 1, 1), 0.5), torch.tensor([0]), Linf(0.1)).flatten()
    tensor([0.4000, 0.6000])
    """

    follows: ClassVar[Kinds] = (Ball,)
    goal: Goal = CrossEntropy()

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        threat, losses = accepted(self, threat), self.goal.on(model, x, y)
        begin(model, len(x))
        x = x.detach()
        gradient = input_gradient(model, x, losses, torch.arange(len(x), device=x.device))
        return threat.project(x + threat.eps * threat.direction(gradient), x)


@dataclass(frozen=True)
class RFGSM:
    """A random step of size ``alpha * eps``, to a corner under L-infinity, then a gradient step of the rest (Tramer et al.
    2018).

    Raises:
        ValueError: ``alpha`` outside [0, 1].
    """

    follows: ClassVar[Kinds] = (Ball,)
    alpha: float = 0.25
    goal: Goal = CrossEntropy()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is the share of eps that the random step takes, in [0, 1], not {self.alpha}")

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        threat = accepted(self, threat)
        losses = self.goal.on(model, x, y)
        random = self.alpha * threat.eps
        start = threat.project(x + random * threat.direction(noise(rng).normal(x)), x)
        return ascend(model, x, losses, threat=threat, start=start, step=threat.eps - random, steps=1, judge=judge)


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent from a random start (Madry et al. 2018).

    Arguments:
        steps: gradient steps of size ``stride * eps / steps``.
        restarts: independent starts; without a judge the one with the highest loss is kept, sample by sample.
        goal, start: what to maximise, where to begin.
        stride: how far all steps together reach, in units of ``eps``.

    Raises:
        ValueError: a count below 1, or a ``stride`` not above 0.
    """

    follows: ClassVar[Kinds] = (Ball,)
    steps: int = 20
    restarts: int = 1
    goal: Goal = CrossEntropy()
    start: Start = Uniform()
    stride: float = 2.5

    def __post_init__(self) -> None:
        if not 0 < self.stride < math.inf:
            raise ValueError(f"stride, the steps' total in units of eps, must be greater than 0, not {self.stride}")
        at_least_one(self, step=self.steps, restart=self.restarts)

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        threat, x, draw = accepted(self, threat), x.detach(), noise(rng)
        losses = self.goal.on(model, x, y)

        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            start = self.start(x, threat, draw)[chosen]
            step = self.stride * threat.eps / self.steps
            worth = among(losses, chosen)
            return ascend(model, x[chosen], worth, threat=threat, start=start, step=step, steps=self.steps, judge=judge)

        return best_of([run] * self.restarts, model, x, losses, judge)
