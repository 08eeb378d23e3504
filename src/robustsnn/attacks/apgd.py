"""Auto-PGD (Croce & Hein 2020): gradient ascent with an adaptive step size per image, untargeted or targeted."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from robustsnn.attacks.goals import CrossEntropy, Goal, Losses, Margin, TargetedDLR, answer, begin, clean_logits
from robustsnn.attacks.gradient import differentiate
from robustsnn.attacks.own import OwnAttack, Task, among, best_of
from robustsnn.attacks.starts import Boundary
from robustsnn.ranges import Count
from robustsnn.threats import Ball, spread
from robustsnn.types import Classifier, Inputs, Judge

MOMENTUM = 0.75
"""alpha: weight of the gradient step; the previous step has weight 1 - alpha."""

ENOUGH = 0.75
"""rho: fraction of the steps between two checkpoints that must raise the loss."""


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps ``w_j = ceil(p_j * steps)`` after which the step size may be halved, starting with ``w_0 = 0``.

    ``p_1 = .22``, ``p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06) <= 1``, computed in whole hundredths. With few steps some
    checkpoints coincide; duplicates are dropped.

    >>> checkpoints(100)
    (0, 22, 41, 57, 70, 80, 87, 93, 99)
    """
    p, window, marks = 0, 22, []
    while p <= 100:
        marks.append(-(-p * steps // 100))
        p, window = p + window, max(window - 3, 6)
    return tuple(dict.fromkeys(marks))


def auto_ascend(
    model: Classifier,
    x: Inputs,
    losses: Losses,
    *,
    worth: Losses,
    threat: Ball,
    start: Inputs,
    steps: int,
    judge: Judge | None = None,
) -> Inputs:
    """Run Auto-PGD once (Algorithm 1); every decision is made per image.

    ``z = P(x_k + η d(∇f))``, ``x_{k+1} = P(x_k + α (z - x_k) + (1 - α) (x_k - x_{k-1}))``, initially ``η = 2 eps``. At
    checkpoint ``w_j``, η halves and ``x_k`` restarts at the best point if fewer than ``ρ (w_j - w_{j-1})`` steps since the
    last checkpoint raised ``f``, or if neither η nor the best ``f`` has changed since then.

    Arguments:
        model, x, losses, threat, start, steps: as for `ascend`; ``losses`` computes ``f``.
        worth: the iterate with the highest value is returned.
        judge: called on the start and after every step; a broken image keeps that iterate and leaves the run.

    Returns:
        One iterate per image, ``[N, ...]``.
    """
    windows = {0: 0} | {now: now - before for before, now in pairwise(checkpoints(steps))}
    found = start.detach().clone()
    images = _Climbing(torch.arange(len(x), device=x.device), x.detach(), found)
    begin(model, len(x))
    for step in range(steps + 1):
        if judge is not None:
            broken = judge(images.adv, images.index)
            gone = broken.nonzero().flatten()
            if len(gone):
                found[images.index[gone]] = images.adv[gone]
                images.keep((~broken).nonzero().flatten())
        if not len(images.index):
            break
        images.look(model, losses, worth, last=step == steps)
        if step in windows:
            images.reconsider(windows[step])
        if step < steps:
            images.move(threat, 1 if step == 0 else MOMENTUM)
    found[images.index] = images.kept
    return found


class _Climbing:
    """State of the images still in a run; the first dimension of every attribute runs over these images."""

    def __init__(self, index: Tensor, x: Tensor, start: Tensor) -> None:
        nothing = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        self.index, self.x = index, x
        self.adv = self.previous = self.best = self.kept = start.clone()
        self.gradient = self.best_gradient = torch.zeros_like(x)
        self.loss, self.best_loss, self.best_before, self.kept_worth = -nothing, nothing, nothing, nothing
        self.eta = torch.full_like(nothing, 2)  # in units of eps
        self.rises = torch.zeros_like(nothing)
        self.halved = torch.ones_like(nothing, dtype=torch.bool)  # the start must not halve η

    def keep(self, chosen: Tensor) -> None:
        """Keep only the images at these positions."""
        for name, values in vars(self).items():
            setattr(self, name, values[chosen])

    def look(self, model: Classifier, losses: Losses, worth: Losses, *, last: bool) -> None:
        """Evaluate the current iterates; after the ``last`` step no gradient is computed."""
        if last:
            with torch.no_grad():
                logits = answer(model, self.adv, self.index)
                loss, gradient = losses(logits, self.index), self.gradient
        else:
            logits, loss, gradient = differentiate(model, self.adv, losses, self.index)
        loss, value = loss.to(self.loss), worth(logits, self.index).to(self.loss)
        self.rises = self.rises + (loss > self.loss)
        self.loss, self.gradient = loss, gradient
        better = self.loss > self.best_loss
        self.best, self.best_loss = _where(better, self.adv, self.best), torch.where(better, self.loss, self.best_loss)
        self.best_gradient = _where(better, gradient, self.best_gradient)
        worthier = value > self.kept_worth
        self.kept, self.kept_worth = _where(worthier, self.adv, self.kept), torch.where(worthier, value, self.kept_worth)

    def reconsider(self, window: int) -> None:
        """Halve the step size and return to the best point where the last ``window`` steps made no progress."""
        stuck = ~self.halved & (self.best_loss <= self.best_before)
        self.halved = (self.rises < ENOUGH * window) | stuck
        self.eta = torch.where(self.halved, self.eta / 2, self.eta)
        self.adv = _where(self.halved, self.best, self.adv)
        self.gradient = _where(self.halved, self.best_gradient, self.gradient)
        self.loss = torch.where(self.halved, self.best_loss, self.loss)
        self.rises, self.best_before = torch.zeros_like(self.rises), self.best_loss

    def move(self, threat: Ball, momentum: float) -> None:
        """Take one step; ``momentum`` is the weight of its gradient part."""
        size = spread(self.eta * threat.eps, self.x)
        z = threat.project(self.adv + size * threat.direction(self.gradient), self.x)
        moved = self.adv + momentum * (z - self.adv) + (1 - momentum) * (self.adv - self.previous)
        self.adv, self.previous = threat.project(moved, self.x), self.adv


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(spread(chosen, new), new, old)


@dataclass(frozen=True)
class APGD(OwnAttack):
    """Auto-PGD from a random point on the ball's surface, with an adaptive step size (Croce & Hein 2020, Algorithm 1).

    Arguments:
        steps: gradient steps.
        restarts: independent starts.
        goal: what to maximise; without a judge, each sample's iterate with the highest value is returned.
    """

    steps: Count = 100
    restarts: Count = 1
    goal: Goal = CrossEntropy()

    def search(self, task: Task) -> Tensor:
        losses = self.goal.on(task.model, task.x, task.y)
        return _best([losses] * self.restarts, losses, task, self.steps)


@dataclass(frozen=True)
class TargetedAPGD(OwnAttack):
    """Auto-PGD towards each of the likeliest wrong classes, with the targeted DLR loss (Croce & Hein 2020).

    Arguments:
        steps: gradient steps per target and restart.
        targets: number of wrong classes, at most all of them.
        restarts: independent starts per target.

    Without a judge, each image's iterate with the largest margin over all runs is returned.
    """

    steps: Count = 100
    targets: Count = 9
    restarts: Count = 1

    def search(self, task: Task) -> Tensor:
        model, x, y = task.model, task.x, task.y
        wrong = clean_logits(model, x).shape[1] - 1
        goals = [TargetedDLR(rank).on(model, x, y) for rank in range(1, max(1, min(self.targets, wrong)) + 1)]
        runs = [losses for losses in goals for _ in range(self.restarts)]
        return _best(runs, Margin().on(model, x, y), task, self.steps)


def _best(goals: list[Losses], worth: Losses, task: Task, steps: int) -> Tensor:
    """Run once per goal, each from its own random start, and return the best result."""

    def run(losses: Losses, chosen: Tensor, judge: Judge | None) -> Tensor:
        return auto_ascend(
            task.model,
            task.x[chosen],
            among(losses, chosen),
            worth=among(worth, chosen),
            threat=task.threat,
            start=Boundary()(task.x, task.threat, task.noise)[chosen],
            steps=steps,
            judge=judge,
        )

    return best_of([partial(run, losses) for losses in goals], task, worth)
