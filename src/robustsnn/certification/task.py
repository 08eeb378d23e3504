"""The input of every kind of certificate: the network, the samples, and the processes that share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from robustsnn.data import Samples
from robustsnn.names import spelled
from robustsnn.processes import Team
from robustsnn.types import Threat

ABSTAINS = -1
"""The predicted class of a sample for which a smoothed network abstains."""


@dataclass(frozen=True)
class Task:
    """A network and samples to certify.

    Arguments:
        net: a view in eval mode.
        data, seed, batch, on_progress: see `certify`.
        team: the processes, which share the samples.
        state: this process's file of resumable counts.
        key: identifies network, samples and method; a state with another key cannot be resumed.
    """

    net: nn.Module
    data: Samples
    seed: int
    batch: int
    team: Team
    state: Path | None
    key: str
    on_progress: Callable[[str, float], None]

    def samples(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, labels and ids of the samples ``index``, on the network's device."""
        device = next(self.net.parameters(), self.data.labels).device
        return next(self.data.take(index.to(self.data.labels.device)).to(device).batches(len(index)))

    @property
    def mine(self) -> Tensor:
        """The samples of this process."""
        return self.team.share(len(self.data))


class Certificates(BaseModel, frozen=True):
    """Lower bounds on what a network withstands.

    Arguments:
        method: the method and its settings, as text.
        seed: seed of the noise; no influence on intervals.
        labels: the true classes of the samples.
        predicted: the certified network's classes; `ABSTAINS` where it abstains.
        passes: forward passes per sample.
        alpha: probability that the certificate of one sample is wrong; 0 for a proof.
        seconds: wall-clock time since the computation was last resumed.
        nanojoules: energy of one forward pass, see `evaluation.measures.energy`; None if unknown.
    """

    method: str
    seed: int
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    passes: int
    alpha: float
    seconds: float
    nanojoules: float | None = None

    def __repr__(self) -> str:
        """Return the table, which notebooks show."""
        return str(self)

    def __str__(self) -> str:
        """Return certified accuracy at the threats that reports state."""
        from robustsnn.reporting.bounds import stated  # a higher layer, which imports this module

        found: Any = self
        rows = list(stated(found))
        width = max(len(threat) for threat, _ in rows)
        head = f"{self.method}: {len(self.labels)} samples, certified accuracy under"
        return "\n".join([head, *(f"{threat:{width}}  {share}" for threat, share in rows)])

    @property
    def correct(self) -> tuple[bool, ...]:
        """Which samples the certified network classifies correctly; abstaining is wrong."""
        return tuple(found == label for found, label in zip(self.predicted, self.labels, strict=True))

    @property
    def abstained(self) -> int:
        """For how many samples the network abstains."""
        return self.predicted.count(ABSTAINS)

    @property
    def expected_wrong(self) -> float:
        """Upper bound on the expected number of wrong certificates among all samples: ``alpha`` times their number."""
        return self.alpha * len(self.labels)

    @property
    def family_alpha(self) -> float:
        """Upper bound on the probability that any of the certificates is wrong."""
        return min(1.0, self.expected_wrong)

    def certified(self, threat: Threat) -> tuple[bool, ...]:
        """Return which samples are classified correctly, with a certificate that nothing in the threat changes that.

        Raises:
            ValueError: the method says nothing about such a threat.
        """
        raise ValueError(f"{self.method} does not certify the threat {threat!r}: use another method or threat")

    def accuracy(self, threat: Threat) -> float:
        """Return the share of `certified` samples, in ``[0, 1]``."""
        return sum(self.certified(threat)) / len(self.labels)


class Method(Protocol):
    """A method of certification: a frozen value."""

    def certify(self, task: Task) -> Certificates:
        """Certify all samples of a task."""
        ...


def told(seconds: float, method: object, task: Task, **found: Any) -> dict[str, Any]:
    """Return the fields that all `Certificates` share, with those in ``found``."""
    return {
        "method": spelled(method),
        "seed": task.seed,
        "labels": tuple(task.data.labels.tolist()),
        "seconds": seconds,
        **{name: tuple(value.tolist()) if isinstance(value, torch.Tensor) else value for name, value in found.items()},
    }
