"""Where a run computes: lightning-fabric for devices, nodes and precision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from robustsnn.compute import rewire
from robustsnn.compute.norm import Synchronised
from robustsnn.processes import Team
from robustsnn.training.objectives import Pass


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
