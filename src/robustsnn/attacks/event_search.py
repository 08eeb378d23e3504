"""Random search on events: queries only, no gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import Margin, answer, begin
from robustsnn.attacks.own import OwnAttack, Task
from robustsnn.attacks.square import area
from robustsnn.ranges import Count, Range
from robustsnn.seeds import noise, portion
from robustsnn.threats import EventThreat
from robustsnn.types import Kinds


@dataclass(frozen=True)
class EventSearch(OwnAttack):
    """Random search: every bin has a random score, and the candidate is the allowed sample with the largest scores. A query
    draws the scores of some bins anew, which moves some changes elsewhere, and keeps them unless the margin falls.

    Arguments:
        queries: forward passes per sample.
        p: share of the bins whose scores the first query draws; it falls as the area of `Square` does.
    """

    follows: ClassVar[Kinds] = (EventThreat,)
    queries: Count = 1000
    p: Annotated[float, Range("(0, 1]")] = 0.8

    @torch.no_grad()
    def search(self, task: Task) -> Tensor:
        x, model = task.x, task.model
        worth, alive = Margin().on(model, x, task.y), torch.arange(len(x), device=x.device)
        adv, scores, highest = x.clone(), torch.zeros_like(x), x.new_full((len(x),), -torch.inf)
        begin(model, len(x))
        for query in range(self.queries):
            share = area(query, self.queries, self.p) if query else 1.0
            chance = noise(portion(task.rng, alive, "query", query)).uniform(x[alive])
            tried = torch.where(chance < share, 2 * chance / share - 1, scores[alive])
            candidate = task.threat.best(tried, x[alive])
            logits = answer(model, candidate, alive)
            margin = worth(logits, alive).to(highest.dtype)
            better = margin >= highest[alive]
            index = alive[better]
            adv[index], scores[index], highest[index] = candidate[better], tried[better], margin[better]
            broken = logits.argmax(1) != task.y[alive] if task.judge is None else task.judge(candidate, alive)
            adv[alive[broken]] = candidate[broken]
            alive = alive[~broken]
            if not len(alive):
                break
        return adv
