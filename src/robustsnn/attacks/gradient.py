"""Gradient attacks: one ascent loop with different starts and goals."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustsnn.attacks.goals import CrossEntropy, Goal, Losses, answer, begin
from robustsnn.attacks.own import OwnAttack, Task, among, best_of
from robustsnn.attacks.starts import Start, Uniform
from robustsnn.ranges import Count, Positive, Share
from robustsnn.threats import Ball
from robustsnn.types import Classifier, Inputs, Judge, Logits, PerImage

Move = Callable[[Tensor, Tensor], Tensor]
"""``move(gradient [n, ...], index [n]) -> [n, ...]``: the step of the samples ``index`` of the batch."""

Slope = Callable[[Classifier, Tensor, Losses, Tensor], Tensor]
"""``slope(model, x [n, ...], losses, index [n]) -> [n, ...]``: the ascent direction at iterates of the samples ``index``."""


def ascend(
    model: Classifier,
    x: Inputs,
    losses: Losses,
    *,
    threat: Ball,
    start: Inputs,
    step: float | Move,
    steps: int,
    judge: Judge | None = None,
    gradient: Slope | None = None,
) -> Inputs:
    """Run projected gradient ascent: ``adv <- project(adv + step * direction(gradient))``.

    Arguments:
        model: maps samples to logits; its backward pass need not match its forward pass.
        x: clean samples ``[N, ...]``.
        losses: what to maximise, per sample.
        start: first iterates ``[N, ...]``, inside the threat.
        step: size of every step, or a function from gradient to step.
        judge: called after every step; a broken sample keeps that iterate and leaves the run.
        gradient: computes the ascent direction; `input_gradient` if None.

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
    """Return the gradient of each sample's loss with respect to that sample, ``[N, ...]``."""
    return differentiate(model, x, losses, index)[2]


def differentiate(model: Classifier, x: Inputs, losses: Losses, index: Tensor) -> tuple[Logits, PerImage, Inputs]:
    """Return logits ``[N,K]``, losses ``[N]`` and their input gradients ``[N, ...]``: one forward and one backward pass."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = answer(model, x, index)
        loss = losses(logits, index)
        # a model that cuts the graph has no gradient; the audit reports that
        (gradient,) = torch.autograd.grad(loss.sum(), x) if loss.requires_grad else (torch.zeros_like(x),)
    return logits.detach(), loss.detach(), usable(gradient)


def usable(gradient: Inputs) -> Inputs:
    """Replace non-finite values of a gradient by 0, so that one value cannot disable the attack on its sample."""
    return gradient.nan_to_num(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class FGSM(OwnAttack):
    """One full-radius step from the clean sample along the gradient, or along its sign under L-infinity (Goodfellow et al.
    2015).

    >>> from robustsnn.threats import Linf
    >>> FGSM()(torch.nn.Flatten(), torch.full((1, 2, 1, 1), 0.5), torch.tensor([0]), Linf(0.1)).flatten()
    tensor([0.4000, 0.6000])
    """

    goal: Goal = CrossEntropy()

    def search(self, task: Task) -> Tensor:
        model, x = task.model, task.x
        threat: Ball = task.threat
        losses = self.goal.on(model, x, task.y)
        begin(model, len(x))
        gradient = input_gradient(model, x, losses, torch.arange(len(x), device=x.device))
        return threat.project(x + threat.eps * threat.direction(gradient), x)


@dataclass(frozen=True)
class RFGSM(OwnAttack):
    """A random step of size ``alpha * eps`` (under L-infinity along random signs), then a gradient step of size
    ``(1 - alpha) * eps`` (Tramer et al. 2018)."""

    alpha: Share = 0.25
    goal: Goal = CrossEntropy()

    def search(self, task: Task) -> Tensor:
        model, x, threat = task.model, task.x, task.threat
        losses, random = self.goal.on(model, x, task.y), self.alpha * threat.eps
        start = threat.project(x + random * threat.direction(task.noise.normal(x)), x)
        return ascend(model, x, losses, threat=threat, start=start, step=threat.eps - random, steps=1, judge=task.judge)


@dataclass(frozen=True)
class Ascent(OwnAttack):
    """Projected gradient ascent; subclasses choose the start and the step.

    Arguments:
        steps: gradient steps.
        restarts: independent starts; without a judge, each sample keeps the result with the highest loss.
        goal: what to maximise.
    """

    steps: Count = 20
    restarts: Count = 1
    goal: Goal = CrossEntropy()

    @abstractmethod
    def begin(self, task: Task) -> Tensor:
        """Return the first iterate of every sample, ``[N, ...]``."""

    @abstractmethod
    def step(self, task: Task, chosen: Tensor, restart: int) -> float | Move:
        """Return the step size, or step function, of one run on the samples ``chosen``."""

    def search(self, task: Task) -> Tensor:
        losses = self.goal.on(task.model, task.x, task.y)

        def run(restart: int, chosen: Tensor, judge: Judge | None) -> Tensor:
            return ascend(
                task.model,
                task.x[chosen],
                among(losses, chosen),
                threat=task.threat,
                start=self.begin(task)[chosen],
                step=self.step(task, chosen, restart),
                steps=self.steps,
                judge=judge,
            )

        return best_of([partial(run, restart) for restart in range(self.restarts)], task, losses)


@dataclass(frozen=True)
class PGD(Ascent):
    """Projected gradient ascent from a random start (Madry et al. 2018).

    Arguments:
        steps: gradient steps of size ``stride * eps / steps``.
        restarts, goal: as in `Ascent`.
        start: distribution of the first iterate.
        stride: total length of all steps, in units of ``eps``.
    """

    start: Start = Uniform()
    stride: Positive = 2.5

    def begin(self, task: Task) -> Tensor:
        return self.start(task.x, task.threat, task.noise)

    def step(self, task: Task, chosen: Tensor, restart: int) -> float:
        return float(self.stride * task.threat.eps / self.steps)
