"""The attacked network, and how an ensemble runs on it: member by member, in full batches, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Cost, Target, attempt, wrong
from robustsnn.evaluation.members import Member
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Result
from robustsnn.evaluation.state import Progress, State
from robustsnn.names import Rule
from robustsnn.processes import Team
from robustsnn.seeds import image_seeds
from robustsnn.types import Threat


@dataclass(frozen=True)
class Victim:
    """The attacked network with all that stays the same over an evaluation."""

    net: nn.Module
    target: Target
    data: Samples
    device: torch.device
    rule: Rule
    seed: int
    batch: int
    team: Team
    on_progress: Callable[[str, float], None]

    def clean(self) -> Tensor:
        """Flags before any attack, ``[N]``."""
        flags = torch.full((len(self.data),), ROBUST)
        for index in self.team.share(len(self.data)).split(self.batch):
            missed = wrong(self.target.judged, *self.images(index)[:2])
            flags[index[missed.cpu()]] = MISCLASSIFIED
        return self.team.merge(flags)

    def images(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels, labels and ids of the images ``index``, on the network's device."""
        place = index.to(self.data.labels.device)
        x, y = self.data.batch(place)
        return x.to(self.device), y.to(self.device), self.data.ids[place].to(self.device)

    def measure(self, name: str, threat: Threat, ensemble: Sequence[Member], flags: Tensor, kept: State) -> None:
        """Run one ensemble under one threat: member by member, on full batches of the images that still survive."""
        now = kept.current or Progress.begin(flags, len(ensemble))
        mine = self.team.share(len(flags))
        what = f"{name} at {threat.spelled}"
        for number, member in enumerate(ensemble):
            waiting = mine[(now.flags[mine] == ROBUST) & (now.tried[mine] == number)]
            for i, index in enumerate(waiting.split(self.batch)):
                self.on_progress(what, (number + i * self.batch / max(1, len(waiting))) / len(ensemble))
                if len(index):
                    self._attack(member, number, index, now, name, kept)
            if len(waiting):
                kept.write()
        self.on_progress(what, 1.0)
        result = Result(
            attack=name,
            eps=threat.eps,
            threat=type(threat).__name__,
            rule=self.rule,
            members=tuple(member.name for member in ensemble),
            broken_by=tuple(self.team.merge(now.flags).tolist()),
            white_box=tuple(member.white_box for member in ensemble),
            gradients=tuple(self.team.total(torch.tensor(now.gradients)).tolist()),
            queries=tuple(self.team.total(torch.tensor(now.queries)).tolist()),
            excess=tuple(self.team.total(torch.tensor(now.excess), "max").tolist()),
            seconds=tuple(self.team.total(torch.tensor(now.seconds), "max").tolist()),
        )
        kept.finish(result)

    def _attack(self, member: Member, number: int, index: Tensor, now: Progress, name: str, kept: State) -> None:
        """Let a member of the ensemble attack the images ``index``."""
        x, y, ids = self.images(index)
        cost, started = Cost(), time.perf_counter()
        _, broken = attempt(member, self.target, x, y, image_seeds(ids, self.seed, name), self.rule, cost)
        now.flags[index[broken.cpu()]] = number
        now.tried[index] = number + 1
        now.gradients[number] += cost.gradients
        now.queries[number] += cost.queries
        now.excess[number] = max(now.excess[number], cost.excess)
        now.seconds[number] += time.perf_counter() - started
        kept.keep(now)
