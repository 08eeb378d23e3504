"""Resumable state of an evaluation on disk: flags per image, updated batch by batch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from robustsnn.evaluation.ensemble import Cost, Progress
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Result
from robustsnn.files import read_sealed, write_sealed
from robustsnn.processes import Team

SECONDS = 2.0
"""Seconds between writes while a member runs; after a kill at most this much work is repeated."""

KEPT = ("flags", "clean", "margin", "tried")
"""The tensors of a `Progress`."""


@dataclass
class State:
    """Complete results and the one in progress, kept in a file if there is a path.

    Arguments:
        path: the file; None: keep nothing on disk.
        key: identifies the evaluation; a file with another key cannot be resumed.
    """

    path: Path | None
    key: str
    done: list[Result] = field(default_factory=list)
    current: Progress | None = None
    written: float = -math.inf

    def keep(self, current: Progress, at_once: bool) -> None:
        """Record the result in progress; write the file ``at_once``, or every `SECONDS`."""
        self.current = current
        if at_once or time.monotonic() - self.written >= SECONDS:
            self.write()

    def finish(self, result: Result) -> None:
        """Record a complete result."""
        self.current = None
        self.done.append(result)
        self.write()

    def write(self) -> None:
        """Write the file."""
        self.written = time.monotonic()
        if self.path is None:
            return
        current = self.current
        tensors = {name: torch.zeros(0) if current is None else getattr(current, name) for name in KEPT}
        costs = [] if current is None else [asdict(cost) for cost in current.costs]
        done = [result.model_dump(mode="json") for result in self.done]
        texts = {"key": self.key, "done": json.dumps(done), "costs": json.dumps(costs)}
        write_sealed(self.path, tensors, texts)

    @classmethod
    def resume(cls, path: Path | None, key: str) -> State:
        """Read the state from its file; empty if there is none.

        Raises:
            ValueError: the file is damaged or belongs to another evaluation.
        """
        state = cls(path, key)
        if path is None or not path.exists():
            return state
        tensors, texts = read_sealed(path, key, "evaluation")
        state.done = [Result.model_validate(result) for result in json.loads(texts["done"])]
        if costs := json.loads(texts["costs"]):
            state.current = Progress(**{name: tensors[name] for name in KEPT}, costs=[Cost(**cost) for cost in costs])
        return state

    def agree(self, team: Team) -> None:
        """Adopt the complete results of the process that has most; discard a result in progress that does not follow them."""
        ahead = int(team.total(torch.tensor(len(self.done) * team.size + team.rank), "max"))
        done = team.agree([result.model_dump(mode="json") for result in self.done], ahead % team.size)
        if len(done) != len(self.done):
            self.done, self.current = [Result.model_validate(result) for result in done], None


def carried(results: Sequence[Result], name: str, eps: float, clean: Tensor) -> Tensor:
    """Return initial flags: images that the same ensemble broke at a smaller radius are broken at this one, too."""
    flags = clean.clone()
    for result in results:
        if result.attack == name and result.eps < eps and result.rule == "any":
            before = torch.tensor(result.broken_by)
            flags = torch.where((flags == ROBUST) & (before > MISCLASSIFIED), before, flags)
    return flags
