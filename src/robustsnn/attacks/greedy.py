"""Greedy flips: the events whose change the gradient values most."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import CrossEntropy, Goal, begin
from robustsnn.attacks.gradient import input_gradient
from robustsnn.attacks.own import OwnAttack, Task
from robustsnn.ranges import Count
from robustsnn.threats.flips import Flips
from robustsnn.types import Kinds


@dataclass(frozen=True)
class GreedyFlips(OwnAttack):
    """Flip the events with the largest first-order gain, an equal part of the budget per round, each by a new gradient.

    Flipping bit ``x`` gains ``(1 - 2 x) g``. On a linear model this is the optimum.

    Arguments:
        rounds: gradients per sample.
        goal: what to maximise.
    """

    follows: ClassVar[Kinds] = (Flips,)
    rounds: Count = 10
    goal: Goal = CrossEntropy()

    def search(self, task: Task) -> Tensor:
        x, threat, judge = task.x, task.threat, task.judge
        losses, budget = self.goal.on(task.model, x, task.y), threat.budget(x)
        adv, alive = x.clone(), torch.arange(len(x), device=x.device)
        begin(task.model, len(x))
        for number in range(1, self.rounds + 1):
            gain = (1 - 2 * x[alive]) * input_gradient(task.model, adv[alive], losses, alive)
            gain = torch.where(adv[alive] != x[alive], torch.inf, gain)  # what is flipped stays flipped
            adv[alive] = threat.flipped(x[alive], gain, -(-budget[alive] * number // self.rounds))
            if judge is not None:
                alive = alive[~judge(adv[alive], alive)]
            if not len(alive):
                break
        return adv
