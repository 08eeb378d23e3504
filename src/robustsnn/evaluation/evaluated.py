"""The state of an evaluation that its measures share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.conversion import bfloat16
from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Target
from robustsnn.evaluation.measure import Found, Measure
from robustsnn.evaluation.member import Group
from robustsnn.evaluation.protocols import Protocol
from robustsnn.files import digest
from robustsnn.processes import Team
from robustsnn.settings import Settings
from robustsnn.types import Threat


@dataclass
class Evaluated:
    """A network under evaluation, with everything that its measures share.

    Arguments:
        net, seed, sources, pilot_images, on_progress: see `evaluate`.
        data: the evaluated samples, on the network's device if they fit.
        settings, protocol, groups: the settings, their protocol, and the ensembles of it that run.
        batch: number of samples attacked together, limited by memory.
        team: the processes, which share the samples.
        state: this process's file of resumable results.
        target: the views that all measures attack and judge.
    """

    net: nn.Module
    data: Samples
    settings: Settings
    protocol: Protocol
    groups: Mapping[str, Sequence[Group]]
    seed: int
    batch: int
    sources: Mapping[str, nn.Module]
    pilot_images: Samples | None
    team: Team
    state: Path | None
    on_progress: Callable[[str, float], None]
    target: Target
    condition: tuple[str, list[tuple[str, bool]]] = field(init=False)
    _found: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.condition = condition(self.net)

    def found(self, measure: Measure[Found]) -> Found | None:
        """Return the result of a measure, computed on first use."""
        if measure.name not in self._found:
            self._found[measure.name] = measure.measure(self)
        found: Found | None = self._found[measure.name]
        return found

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next(self.net.parameters(), self.data.labels).device

    @property
    def threats(self) -> list[Threat]:
        """The threats, by increasing radius."""
        return sorted(self.settings.threats, key=lambda threat: threat.eps)

    @property
    def samples_digest(self) -> str:
        """A digest of the samples in their order, the same for bytes and for floats."""
        parts = (digest({"values": x, "labels": y}) for x, y, _ in self.data.batches(256))
        return hashlib.blake2b("".join(parts).encode(), digest_size=8).hexdigest()

    @property
    def unchanged(self) -> bool:
        """Whether the network is unchanged since the evaluation began."""
        return condition(self.net) == self.condition

    @cached_property
    def crafted(self) -> Target:
        """The target of the protocol's attacks; its gradients may use another precision."""
        if self.settings.crafting == "float32":
            return self.target
        return Target(self.target.judged, bfloat16(self.target.guide))

    @cached_property
    def mine(self) -> Samples:
        """This process's samples for measures without attacks."""
        return self.data.take(self.team.share(len(self.data)).to(self.data.labels.device))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Combine means over this process's samples to means over all samples."""
        return self.team.mean(values, len(self.mine))

    def samples(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, labels and ids of the samples ``index``, on the network's device."""
        return next(self.data.take(index.to(self.data.labels.device)).to(self.device).batches(len(index)))


def condition(net: nn.Module) -> tuple[str, list[tuple[str, bool]]]:
    """Return what an evaluation must not change: a digest of parameters and buffers, and the training and gradient flags."""
    training = [(name, module.training) for name, module in net.named_modules()]
    return digest(net.state_dict()), training + [(name, value.requires_grad) for name, value in net.named_parameters()]
