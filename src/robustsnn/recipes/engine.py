"""Devices and processes of a run, with lightning-fabric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robustsnn.names import amount
from robustsnn.ranges import Ranged

if TYPE_CHECKING:
    import robustsnn.processes


@dataclass(frozen=True)
class Engine(Ranged):
    """Devices, processes and memory of a run. Results do not depend on them, except for rounding.

    Raises:
        ValueError: ``devices`` or ``nodes`` is below 1, ``memory`` is not an amount, or a word is unknown.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """kind of device; auto uses a GPU if there is one"""
    devices: int = 1
    """devices per node, with one process each; they share every batch and the test images"""
    nodes: int = 1
    """machines; run the same command on each (docs/scaling.md)"""
    strategy: Literal["auto", "ddp"] = "auto"
    """how devices are synchronised"""
    memory: str = ""
    """memory for autograd graphs, such as 8GiB; attacks use smaller batches, training recomputes activations"""
    recompute: bool = False
    """keep only activations between blocks and recompute the others: less memory, more time"""
    deterministic: bool = False
    """use only deterministic algorithms; an error if torch has none"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices < 1 or self.nodes < 1:
            raise ValueError(f"devices and nodes must be at least 1, not {self.devices} and {self.nodes}")
        self.budget()

    def budget(self) -> int | None:
        """Return ``memory`` in bytes; None if it is not limited."""
        return amount(self.memory)

    def launch(self) -> robustsnn.processes.Team:
        """Start and connect the processes of the run.

        Raises:
            ValueError: this machine does not have that many such devices, or a launcher started more processes.
        """
        import torch

        from robustsnn.processes import Team, launched

        started, count = launched()
        if count > 1 == self.devices * self.nodes:
            raise ValueError(
                f"a launcher started {count} processes ({started}), and each would run alone and write the same files: add "
                f"--devices and --nodes so that they share the work; for separate runs, unset {started} and give each an --out"
            )

        counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        if gpus := max(counts.values()):
            counts["auto"] = gpus  # which it prefers
        if self.devices > counts.get(self.accelerator, self.devices):
            there = f"{counts[self.accelerator]} device(s)" if counts[self.accelerator] else "none"
            raise ValueError(
                f"--accelerator {self.accelerator} needs {self.devices} device(s), but torch finds {there}: "
                "use --accelerator cpu or fewer --devices; 'robustsnn doctor' lists the devices"
            )
        if self.devices == self.nodes == 1 and (self.accelerator == "cpu" or not gpus):
            return Team()
        from lightning_fabric import Fabric

        fabric = Fabric(accelerator=self.accelerator, devices=self.devices, num_nodes=self.nodes, strategy=self.strategy)
        fabric.launch()
        return Team(fabric)
