"""The sparse dynamic attack on binary events: few flips, chosen by gradients and tried one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import Losses, Margin, begin
from robustsnn.attacks.gradient import input_gradient
from robustsnn.attacks.own import OwnAttack, Task, among
from robustsnn.ranges import Count, Positive
from robustsnn.threats import Flips
from robustsnn.types import Kinds

TOGETHER = 256
"""Candidates per forward pass."""

TIE = 1e-6
"""Differences of losses that count as none, since sums round differently in other batches."""


@dataclass(frozen=True)
class SDA(OwnAttack):
    """Sparse dynamic attack (Lun et al. 2025) on binary frames: a search for few flips, which `Flips` then limits.

    Round n takes the ``first * n`` unflipped bits of the largest gain by the gradient, flips each of them alone, and keeps
    those that do not lower the loss ``max_{i != y} z_i - z_y``. A misclassified sample then gets back as many bits as
    possible, those of the smallest effect first, by binary search.

    Arguments:
        rounds: maximum number of rounds.
        first: number of bits that the first round tries.
        beyond: give a sample up after more than this many times its budget of flips.
    """

    follows: ClassVar[Kinds] = (Flips,)
    rounds: Count = 500
    first: Count = 10
    beyond: Positive = 4.0

    def search(self, task: Task) -> Tensor:
        if task.threat.most > 1:
            raise ValueError(f"SDA flips bits, but {task.threat!r} allows counts up to {task.threat.most}: use GreedyFlips")
        x, model = task.x, task.model
        losses, count = Margin().on(model, x, task.y), len(x)
        adv, effect = x.clone(), x.new_full((count, x[:1].numel()), torch.nan)
        tie = 1e-12 * (task.noise.uniform(x) + 0.5)
        alive, fooled = torch.arange(count, device=x.device), torch.zeros(count, dtype=torch.bool, device=x.device)
        limit = (self.beyond * task.threat.budget(x)).long()
        fools = self._fools(task)
        for number in range(1, self.rounds + 1):
            alive = alive[~fooled[alive] & (task.threat.changed(adv[alive], x[alive]) <= limit[alive])]
            if not len(alive):
                break
            begin(model, len(alive))  # the trials below are passes of no run
            rows = torch.arange(len(alive), device=x.device)
            gain = (1 - 2 * x[alive]) * input_gradient(model, adv[alive], among(losses, alive), rows)
            gain = torch.where(gain == 0, tie[alive], gain).flatten(1)
            gain[~effect[alive].isnan()] = -torch.inf  # flipped before
            best, places = (part[:, : self.first * number] for part in gain.sort(dim=1, descending=True, stable=True))
            whose = alive[:, None].expand_as(places)[best > 0]
            self._flip(task, losses, whose, places[best > 0], adv, effect)
            fooled[alive] = fools(adv[alive], alive)
        for sample in fooled.nonzero().flatten().tolist():
            adv[sample] = self._reduced(x[sample], adv[sample], effect[sample], partial(fools, whose=sample))
        return task.threat.project(adv, x)  # type: ignore[no-any-return]

    def _fools(self, task: Task) -> Callable[..., Tensor]:
        """Return the test for misclassification: the judge's, or the model's own prediction."""

        @torch.no_grad()
        def fools(candidates: Tensor, whose: Tensor | int) -> Tensor:
            index = torch.as_tensor(whose, device=candidates.device).expand(len(candidates))
            if task.judge is not None:
                return task.judge(candidates, index)
            return task.model(candidates).argmax(1) != task.y[index]

        return fools

    @torch.no_grad()
    def _flip(self, task: Task, losses: Losses, whose: Tensor, places: Tensor, adv: Tensor, effect: Tensor) -> None:
        """Flip each of the bits ``places [n]`` of the samples ``whose [n]`` alone, and keep those that do not lower the
        loss."""
        now, everyone = adv.clone(), torch.arange(len(adv), device=adv.device)
        before = torch.cat([losses(task.model(now[some]), some) for some in everyone.split(TOGETHER)])
        for some, at in zip(whose.split(TOGETHER), places.split(TOGETHER), strict=True):
            risen = losses(task.model(flipped(now[some], at)), some) - before[some]
            kept = risen >= -TIE
            effect[some[kept], at[kept]] = risen[kept].to(effect.dtype)
            flat = adv.flatten(1)
            flat[some[kept], at[kept]] = 1 - flat[some[kept], at[kept]]

    def _reduced(self, x: Tensor, adv: Tensor, effect: Tensor, fools: Callable[[Tensor], Tensor]) -> Tensor:
        """Flip back as many bits as possible, the smallest effect first, so that the sample stays misclassified."""
        places = effect.nan_to_num(torch.inf).argsort(stable=True)[: int((adv != x).sum())]

        def without(count: int) -> Tensor:
            flat = adv.flatten().clone()
            flat[places[:count]] = x.flatten()[places[:count]]
            return flat.view_as(x)

        low, high = 0, len(places)  # `low` can be taken back, more than `high` was never tried
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if bool(fools(without(middle)[None])[0]) else (low, middle - 1)
        return without(low)


def flipped(x: Tensor, places: Tensor) -> Tensor:
    """Flip one bit of each sample ``x [n, ...]``, at ``places [n]``."""
    flat, row = x.flatten(1).clone(), torch.arange(len(x), device=x.device)
    flat[row, places] = 1 - flat[row, places]
    return flat.view_as(x)
