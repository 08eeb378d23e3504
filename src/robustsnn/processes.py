"""What the processes of a computation tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    import lightning_fabric

Shared = TypeVar("Shared")


def one_process(device: torch.device = torch.device("cpu")) -> lightning_fabric.Fabric:
    """One process on a device."""
    from lightning_fabric import Fabric  # takes a second, which what only looks or measures need not wait for

    return Fabric(accelerator=device.type, devices=1 if device.type == "cpu" else [device.index or 0])


@dataclass(frozen=True)
class Team:
    """The processes that compute together, as one of them sees it; all of them come to every sum, mean, merge and wait.

    Arguments:
        fabric: what connects them. None: one process on the CPU, which need not import lightning, a second's work.
    """

    fabric: lightning_fabric.Fabric | None = None

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.fabric.device if self.fabric else torch.device("cpu")

    @property
    def size(self) -> int:
        """How many they are."""
        return self.fabric.world_size if self.fabric else 1

    @property
    def rank(self) -> int:
        """Which of them this one is, from 0."""
        return self.fabric.global_rank if self.fabric else 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, count: int) -> Tensor:
        """The places among ``count`` that are this one's, ``[n]``; all of them, where there are fewer than processes."""
        return torch.arange(count) if count < self.size else torch.arange(self.rank, count, self.size)

    def total(self, value: Tensor, how: str = "sum") -> Tensor:
        """The sum over all processes, place by place; the largest that any has, where ``how`` is ``"max"``."""
        if self.fabric is None or self.size == 1:
            return value
        found = self.fabric.all_reduce(value.to(self.fabric.device), reduce_op=how)
        assert isinstance(found, Tensor)
        return found.to(value.device)

    def merge(self, values: Tensor) -> Tensor:
        """Every place ``[count]`` as the process has it whose share it is."""
        if len(values) < self.size:
            return values
        known = torch.zeros_like(values)
        mine = self.share(len(values))
        known[mine] = values[mine]
        return self.total(known)

    def mean(self, values: Mapping[str, float], count: int) -> dict[str, float]:
        """Means over everyone's images, of means over the ``count`` that are this process's."""
        if self.size == 1:
            return dict(values)
        *sums, images = self.total(torch.tensor([*values.values(), 1.0], dtype=torch.float64) * count).tolist()
        return {name: value / images for name, value in zip(values, sums, strict=True)}

    def agree(self, value: Shared) -> Shared:
        """The value that the first process has."""
        return value if self.fabric is None or self.size == 1 else self.fabric.broadcast(value)

    def own(self, path: Path | None) -> Path | None:
        """A file like that, of this process alone."""
        if path is None or self.size == 1:
            return path
        return path.with_name(f"{path.name}.{self.rank}-of-{self.size}")

    def wait(self) -> None:
        """Until all have come here."""
        if self.fabric is not None:
            self.fabric.barrier()

    def part(self) -> None:
        """The last thing that all of them do together: who left earlier would tear the others down."""
        if self.size > 1:
            self.wait()
            torch.distributed.destroy_process_group()
