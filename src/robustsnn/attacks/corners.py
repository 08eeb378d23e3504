"""Random noise within the threat: the baseline that every gradient attack must beat."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import CrossEntropy, begin
from robustsnn.attacks.own import OwnAttack, Task, best_of
from robustsnn.ranges import Count
from robustsnn.threats import Ball, EventThreat
from robustsnn.types import Judge, Kinds, Noise, Threat


@dataclass(frozen=True)
class _Draws(OwnAttack):
    """Random noise within the threat, drawn several times.

    Arguments:
        draws: noise draws per sample; the first broken one is kept, otherwise the one with the highest cross-entropy.
    """

    draws: Count = 10

    @abstractmethod
    def sample(self, x: Tensor, threat: Any, noise: Noise) -> Tensor:
        """Return one noisy sample for each of ``x [N, ...]``."""

    def search(self, task: Task) -> Tensor:
        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            begin(task.model, len(chosen))
            return self.sample(task.x, task.threat, task.noise)[chosen]

        return best_of([run] * self.draws, task, CrossEntropy().on(task.model, task.x, task.y))


class UniformNoise(_Draws):
    """Random samples within the threat, ``draws`` times: uniform noise in a ball, random changes of events."""

    follows: ClassVar[Kinds] = (Ball, EventThreat)

    def sample(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        return threat.sample(x, noise)


class CornerNoise(_Draws):
    """Full-radius steps along random signs, ``draws`` times: corners ``x ± eps`` of the L-infinity ball, or of the cube
    inscribed in another ball."""

    def sample(self, x: Tensor, threat: Ball, noise: Noise) -> Tensor:
        signs = torch.where(noise.uniform(x) < 0.5, -1, 1).to(x.dtype)
        return threat.project(x + threat.eps * threat.direction(signs), x)
