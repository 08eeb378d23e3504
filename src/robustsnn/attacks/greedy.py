"""Greedy flips: the events whose change the gradient values most."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import CrossEntropy, Goal, begin
from robustsnn.attacks.gradient import input_gradient
from robustsnn.attacks.own import OwnAttack, Task
from robustsnn.ranges import Count
from robustsnn.threats import Flips
from robustsnn.types import Kinds


@dataclass(frozen=True)
class GreedyFlips(OwnAttack):
    """Change the events with the largest first-order gain, an equal part of the budget per step, each by a new gradient. On a
    linear model this is the optimum.

    Arguments:
        steps: gradients per sample.
        goal: what to maximise.
    """

    follows: ClassVar[Kinds] = (Flips,)
    steps: Count = 10
    goal: Goal = CrossEntropy()

    def search(self, task: Task) -> Tensor:
        x, judge = task.x, task.judge
        threat: Flips = task.threat
        losses, budget = self.goal.on(task.model, x, task.y), threat.budget(x)
        adv, alive = x.clone(), torch.arange(len(x), device=x.device)
        begin(task.model, len(x))
        for number in range(1, self.steps + 1):
            slope = input_gradient(task.model, adv[alive], losses, alive)
            slope = torch.where(slope * (adv[alive] - x[alive]) < 0, 0.0, slope)  # what is changed stays changed
            due = -(-budget[alive] * number // self.steps) - threat.changed(adv[alive], x[alive])
            adv[alive] = threat.best(slope, adv[alive], due)
            if judge is not None:
                alive = alive[~judge(adv[alive], alive)]
            if not len(alive):
                break
        return adv
