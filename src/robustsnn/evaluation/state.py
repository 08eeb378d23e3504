"""What an evaluation has found so far, on disk: a vector of flags that grows member by member, batch by batch."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustsnn.evaluation.ensemble import Cost
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Result
from robustsnn.files import digest, read_tensors, write_tensors

SECONDS = 2.0
"""How old the file may be while a member is at work; after a kill so much is done once more."""


@dataclass
class Progress:
    """One ensemble under one threat, half done.

    Arguments:
        flags: ``broken_by`` so far, ``[N]``.
        tried: how many members each image has met, ``[N]``.
        costs: of each member so far.
    """

    flags: Tensor
    tried: Tensor
    costs: list[Cost]

    @classmethod
    def begin(cls, flags: Tensor, members: int) -> Progress:
        """Nothing tried yet; ``flags`` holds what is broken already."""
        return cls(flags.clone(), torch.zeros_like(flags), [Cost() for _ in range(members)])


@dataclass
class State:
    """Results that are complete and the one under way, kept in a file if there is a path.

    Arguments:
        path: the file; None keeps nothing.
        key: what is being evaluated, and how; a file with another key is refused.
    """

    path: Path | None
    key: str
    done: list[Result] = field(default_factory=list)
    current: Progress | None = None
    written: float = -math.inf

    def keep(self, current: Progress, at_once: bool) -> None:
        """Note what is under way; the file follows every few seconds, or ``at_once``."""
        self.current = current
        if at_once or time.monotonic() - self.written >= SECONDS:
            self.write()

    def finish(self, result: Result) -> None:
        """Note a result that is complete."""
        self.current = None
        self.done.append(result)
        self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        self.written = time.monotonic()
        if self.path is None:
            return
        current = self.current
        none = torch.zeros(0, dtype=torch.int64)
        tensors = {"flags": none, "tried": none} if current is None else {"flags": current.flags, "tried": current.tried}
        costs = [] if current is None else [asdict(cost) for cost in current.costs]
        done = [result.model_dump(mode="json") for result in self.done]
        texts = {"key": self.key, "done": json.dumps(done), "costs": json.dumps(costs)}
        write_tensors(self.path, tensors, {**texts, "seal": _seal(tensors, texts)})

    @classmethod
    def resume(cls, path: Path | None, key: str) -> State:
        """What the file holds, or an empty state.

        Raises:
            ValueError: a damaged file, or one of another evaluation.
        """
        state = cls(path, key)
        if path is None or not path.exists():
            return state
        again = "remove it to measure from the beginning"
        try:
            tensors, texts = read_tensors(path)
        except ValueError as error:
            raise ValueError(f"{error}; {again}") from None
        seal = texts.pop("seal", "")
        if seal != _seal(tensors, texts):
            raise ValueError(f"{path} is damaged: its content does not match its seal; {again}")
        if texts["key"] != key:
            raise ValueError(f"{path} belongs to an evaluation of another network, data or protocol; {again}")
        state.done = [Result.model_validate(result) for result in json.loads(texts["done"])]
        if costs := json.loads(texts["costs"]):
            state.current = Progress(tensors["flags"], tensors["tried"], [Cost(**cost) for cost in costs])
        return state

    def agree(self, done: Sequence[Any]) -> None:
        """Go by the results that another process has: what is under way here must follow them."""
        if len(done) != len(self.done):
            self.done, self.current = [Result.model_validate(result) for result in done], None


def carried(results: Sequence[Result], name: str, eps: float, clean: Tensor) -> Tensor:
    """Flags to begin with: what the same ensemble broke at a smaller radius is broken at this one."""
    flags = clean.clone()
    for result in results:
        if result.attack == name and result.eps < eps and result.rule == "any":
            before = torch.tensor(result.broken_by)
            flags = torch.where((flags == ROBUST) & (before > MISCLASSIFIED), before, flags)
    return flags


def _seal(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    whole = digest(tensors) + json.dumps(texts, sort_keys=True)
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()
