"""Where a run computes: lightning-fabric for devices, nodes and precision, and what processes tell each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor, nn

from robustsnn.spiking import rewire
from robustsnn.spiking.norm import Synchronised
from robustsnn.training.objectives import Pass

if TYPE_CHECKING:
    import lightning_fabric

Shared = TypeVar("Shared")


def cpu() -> lightning_fabric.Fabric:
    """One process on the CPU."""
    from lightning_fabric import Fabric  # takes seconds, which commands that only look need not wait for

    return Fabric(accelerator="cpu", devices=1)


@dataclass(frozen=True)
class Team:
    """The processes that compute together, as one of them sees it; all of them come to every sum, mean, merge and wait."""

    fabric: lightning_fabric.Fabric

    @property
    def size(self) -> int:
        """How many they are."""
        return self.fabric.world_size

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.fabric.is_global_zero

    def share(self, count: int) -> Tensor:
        """The places among ``count`` that are this one's, ``[n]``; all of them, where there are fewer than processes."""
        return torch.arange(count) if count < self.size else torch.arange(self.fabric.global_rank, count, self.size)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return value
        summed = self.fabric.all_reduce(value.to(self.fabric.device), reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed.to(value.device)

    def largest(self, value: Tensor) -> Tensor:
        """The largest that any process has, place by place."""
        if self.size == 1:
            return value
        found = self.fabric.all_reduce(value.to(self.fabric.device), reduce_op="max")
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
        return value if self.size == 1 else self.fabric.broadcast(value)

    def own(self, path: Path | None) -> Path | None:
        """A file like that, of this process alone."""
        if path is None or self.size == 1:
            return path
        return path.with_name(f"{path.name}.{self.fabric.global_rank}-of-{self.size}")

    def wait(self) -> None:
        """Until all have come here."""
        self.fabric.barrier()

    def part(self) -> None:
        """The last thing that all of them do together: who left earlier would tear the others down."""
        if self.size > 1:
            self.wait()
            torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Engine:
    """Where and how a run computes. Nothing here changes what it computes, rounding apart.

    Raises:
        ValueError: a number below 1, or memory that is no amount.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """kind of device; auto takes a GPU where there is one"""
    devices: int = 1
    """devices per node; each has a process, and they share every batch and all test images"""
    nodes: int = 1
    """machines; each runs this same command (docs/scaling.md)"""
    strategy: Literal["auto", "ddp"] = "auto"
    """how devices work together"""
    memory: str = ""
    """such as 8GiB: what graphs may keep; attacks take fewer images at once, training recomputes activations"""
    recompute: bool = False
    """keep activations between blocks only and compute the others again: less memory, more time"""
    deterministic: bool = False
    """only algorithms that give the same bits every time, or an error where torch has none"""

    def __post_init__(self) -> None:
        if self.devices < 1 or self.nodes < 1:
            raise ValueError(f"devices and nodes must be at least 1, not {self.devices} and {self.nodes}")
        self.budget()

    def budget(self) -> int | None:
        """``memory`` in bytes; None where it is not limited."""
        if not self.memory:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])i?B", self.memory)
        if not found or not float(found[1]):
            raise ValueError(f"memory must be an amount such as 8GiB or 500MiB, not {self.memory!r}")
        return int(float(found[1]) * 1024 ** ("KMGT".index(found[2]) + 1))

    def launch(self) -> Team:
        """Start the other processes, if there are to be any, and meet them."""
        from lightning_fabric import Fabric

        fabric = Fabric(accelerator=self.accelerator, devices=self.devices, num_nodes=self.nodes, strategy=self.strategy)
        fabric.launch()
        return Team(fabric)


class Loss(nn.Module):
    """A loss of the network as a module, so that an engine that wraps modules (DDP, precision) sees a single forward."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, loss: Pass) -> Tensor:
        return loss(self.net)


def synchronised(net: nn.Module) -> nn.Module:
    """A view whose batch norms see the images of all processes.

    Raises:
        ValueError: a batch norm over anything but images.
    """

    def swap(name: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            return None
        if not isinstance(module, nn.BatchNorm2d):
            raise ValueError(f"{name} is a {type(module).__name__}: several processes can train nn.BatchNorm2d only; use one")
        return Synchronised.of(module)

    return rewire(net, swap)
