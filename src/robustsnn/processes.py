"""Communication between the processes of a computation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    import lightning_fabric

Shared = TypeVar("Shared")


LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables in which srun, torchrun, Open MPI and MPICH tell a process how many they started."""


def launched() -> tuple[str, int]:
    """Return the variable of the launcher of this process, and the number of processes that it started; 1 without one."""
    told = {name: os.environ.get(name, "") for name in LAUNCHERS}
    return next(((name, int(count)) for name, count in told.items() if count.isdecimal() and int(count) > 1), ("", 1))


def one_process(device: torch.device = torch.device("cpu")) -> lightning_fabric.Fabric:
    """Return a Fabric with one process on a device."""
    from lightning_fabric import Fabric  # slow import, which most commands do not need

    return Fabric(accelerator=device.type, devices=1 if device.type == "cpu" else [device.index or 0])


@dataclass(frozen=True)
class Team:
    """The processes that compute together, as one of them sees it. All must take part in every sum, mean, join, merge and
    wait.

    Arguments:
        fabric: connects the processes. None is one process on the CPU, without the slow import of lightning.
    """

    fabric: lightning_fabric.Fabric | None = None

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        return self.fabric.device if self.fabric else torch.device("cpu")

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.fabric.world_size if self.fabric else 1

    @property
    def rank(self) -> int:
        """Index of this process, from 0."""
        return self.fabric.global_rank if self.fabric else 0

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, count: int) -> Tensor:
        """Return this process's indices among ``range(count)``, ``[n]``; all of them if there are fewer than processes."""
        return torch.arange(count) if count < self.size else torch.arange(self.rank, count, self.size)

    def total(self, value: Tensor, how: str = "sum") -> Tensor:
        """Return the elementwise sum over all processes, or the maximum if ``how`` is ``"max"``."""
        if self.fabric is None or self.size == 1:
            return value
        found = self.fabric.all_reduce(value.to(self.fabric.device), reduce_op=how)
        assert isinstance(found, Tensor)
        return found.to(value.device)

    def join(self, *found: Tensor) -> None:
        """Replace every value in place by the largest that a process has."""
        if self.size > 1:
            for values in found:
                values.copy_(self.total(values, "max"))

    def merge(self, values: Tensor) -> Tensor:
        """Return every element of ``[count]`` from the process that handles it."""
        if len(values) < self.size:
            return values
        known = torch.zeros_like(values)
        mine = self.share(len(values))
        known[mine] = values[mine]
        return self.total(known)

    def mean(self, values: Mapping[str, float], count: int) -> dict[str, float]:
        """Return the means over the images of all processes, given the means over this process's ``count`` images."""
        if self.size == 1:
            return dict(values)
        *sums, images = self.total(torch.tensor([*values.values(), 1.0], dtype=torch.float64) * count).tolist()
        return {name: value / images for name, value in zip(values, sums, strict=True)}

    def agree(self, value: Shared, rank: int = 0) -> Shared:
        """Return the value of one process, by default the first."""
        return value if self.fabric is None or self.size == 1 else self.fabric.broadcast(value, rank)

    def own(self, path: Path | None) -> Path | None:
        """Return a variant of a path for this process only."""
        if path is None or self.size == 1:
            return path
        return path.with_name(f"{path.name}.{self.rank}-of-{self.size}")

    def wait(self) -> None:
        """Wait until all processes arrive here."""
        if self.fabric is not None:
            self.fabric.barrier()

    def part(self) -> None:
        """Wait for all processes and end their communication: leaving earlier would stop the others."""
        if self.size > 1:
            self.wait()
            torch.distributed.destroy_process_group()
