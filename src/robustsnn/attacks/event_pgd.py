"""Iterated gradients on events, and the iterated attack for any threat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import CrossEntropy, Goal, begin
from robustsnn.attacks.gradient import PGD, input_gradient
from robustsnn.attacks.own import OwnAttack, Task, among, best_of
from robustsnn.attacks.starts import Start, Uniform
from robustsnn.ranges import Count, Share
from robustsnn.threats import EventThreat, per_sample, positive
from robustsnn.types import Attack, Judge, Kinds, Threat


@dataclass(frozen=True)
class EventPGD(OwnAttack):
    """Gradient ascent on relaxed events: every bin has a real-valued score, a decaying sum of normalised gradients, and the
    iterate is the allowed sample with the largest scores.

    On a linear model one step finds the optimum, under `Flips` and under `Retiming`.

    Arguments:
        steps: gradients per sample and restart.
        restarts: independent starts; without a judge, each sample keeps the result with the highest loss.
        goal: what to maximise.
        start: distribution of the first iterate.
        decay: factor on the scores before each step.
    """

    follows: ClassVar[Kinds] = (EventThreat,)
    steps: Count = 20
    restarts: Count = 1
    goal: Goal = CrossEntropy()
    start: Start = Uniform()
    decay: Share = 0.98

    def search(self, task: Task) -> Tensor:
        losses = self.goal.on(task.model, task.x, task.y)

        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            x, adv = task.x[chosen], self.start(task.x, task.threat, task.noise)[chosen]
            scores, alive = torch.zeros_like(x), torch.arange(len(x), device=x.device)
            begin(task.model, len(x))
            for _ in range(self.steps):
                slope = input_gradient(task.model, adv[alive], among(losses, chosen), alive)
                scores[alive] = self.decay * scores[alive] + slope / positive(per_sample(torch.mean, slope.abs()))
                adv[alive] = task.threat.best(scores[alive], x[alive])
                if judge is not None:
                    alive = alive[~judge(adv[alive], alive)]
                    if not len(alive):
                        break
            return adv

        return best_of([run] * self.restarts, task, losses)


def ascent(
    threat: Threat, steps: int = 20, *, restarts: int = 1, goal: Goal = CrossEntropy(), start: Start = Uniform()
) -> Attack:
    """Return the usual iterated gradient attack within a threat: `PGD`, or on events `EventPGD`, which always starts at a
    random allowed sample.

    >>> from robustsnn.threats import Flips, Linf
    >>> type(ascent(Linf())).__name__, type(ascent(Flips())).__name__
    ('PGD', 'EventPGD')
    """
    if isinstance(threat, EventThreat):
        return EventPGD(steps, restarts, goal)
    return PGD(steps, restarts, goal, start)
