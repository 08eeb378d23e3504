"""Where a run computes: lightning-fabric for devices and nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import robustsnn.processes


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

    def launch(self) -> robustsnn.processes.Team:
        """Start the other processes, if there are to be any, and meet them.

        Raises:
            ValueError: this machine has no such device, or not as many.
        """
        import torch

        from robustsnn.processes import Team

        counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        if self.devices > counts.get(self.accelerator, self.devices):
            there = f"{counts[self.accelerator]} device(s)" if counts[self.accelerator] else "none"
            raise ValueError(
                f"--accelerator {self.accelerator} asks for {self.devices} device(s), and torch finds {there} here: "
                "give --accelerator cpu or fewer --devices; 'robustsnn doctor' says what there is"
            )
        if self.devices == self.nodes == 1 and (self.accelerator == "cpu" or not any(counts.values())):
            return Team()
        from lightning_fabric import Fabric

        fabric = Fabric(accelerator=self.accelerator, devices=self.devices, num_nodes=self.nodes, strategy=self.strategy)
        fabric.launch()
        return Team(fabric)
