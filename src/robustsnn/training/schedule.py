"""How long and how fast to train, what an epoch gave, and when to end early."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from robustsnn.names import Precision


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: SGD with momentum, learning rate by a cosine from ``lr`` to 0 over the epochs.

    Arguments:
        epochs, batch: passes over the training images; images per step.
        lr, momentum, weight_decay: of SGD.
        decay: which parameters decay: ``"all"``, or the ``"weights"`` of convolutions and linear layers alone, not norms,
            biases, thresholds and leaks.
        average: decay per step, in ``[0, 1)``, of a running average of all parameters, which validation measures and training
            ends with; 0: none.
        precision: what convolutions and linear layers compute in; parameters, potentials, norms' statistics and validation
            stay in float32.

    Raises:
        ValueError: a value outside its range.
    """

    epochs: int = 200
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: Literal["all", "weights"] = "all"
    average: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"epochs and batch must be at least 1, not {self.epochs} and {self.batch}")
        if not (0 < self.lr < math.inf and 0 <= self.momentum < 1 and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                "lr must be > 0, momentum in [0, 1) and weight_decay >= 0, not "
                f"{self.lr}, {self.momentum}, {self.weight_decay}"
            )
        if self.decay not in ("all", "weights"):
            raise ValueError(f"decay must be 'all' or 'weights', not {self.decay!r}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average, the decay of averaged weights, must be in [0, 1), not {self.average}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', not {self.precision!r}")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def optimizer(self, net: nn.Module) -> torch.optim.SGD:
        """SGD over all parameters of a network."""
        kept = [p for p in net.parameters() if self.decay == "weights" and p.dim() < 2]
        still = {id(p) for p in kept}
        groups: list[dict[str, Any]] = [{"params": [p for p in net.parameters() if id(p) not in still]}]
        if kept:
            groups.append({"params": kept, "weight_decay": 0.0})
        return torch.optim.SGD(groups, self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss, and accuracies in ``[0, 1]`` on the validation images and how many these are (0: not
    known); what it took in seconds of the clock and of the processor, all threads of the first process together."""

    epoch: int
    loss: float
    clean: float
    robust: float
    lr: float
    seconds: float
    processor_seconds: float = 0.0
    images: int = 0


def read_history(values: Any, where: object) -> tuple[Epoch, ...]:
    """Epochs as a file holds them.

    Raises:
        ValueError: something else; ``where`` names its place in the line.
    """
    try:
        return tuple(Epoch(**value) for value in values)
    except TypeError as error:
        raise ValueError(f"{where} holds no history of a training of this version ({error}): train again") from None


Stop = Callable[[Sequence[Epoch]], bool]
"""Whether training should end after the epochs so far."""


@dataclass(frozen=True)
class CatastrophicOverfitting:
    """Stop once robust validation accuracy has fallen by more than ``drop`` below its best (Wong et al. 2020).

    Raises:
        ValueError: ``drop`` is not in [0, 1].
    """

    drop: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop, a difference of accuracies, must be in [0, 1], not {self.drop}")

    def __call__(self, history: Sequence[Epoch]) -> bool:
        return history[-1].robust < max(epoch.robust for epoch in history) - self.drop


STOPS: dict[str, Callable[..., Stop]] = {"CatastrophicOverfitting": CatastrophicOverfitting}


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch whose weights training keeps: the last one whose robust accuracy is within a standard error of the highest.

    Few validation images cannot tell epochs apart that differ by less, and the last of these had the smallest learning rate.
    Without an error to go by, it is the first of the most robust, then most accurate.
    """
    top = max(history, key=lambda e: (e.robust, e.clean))
    error = math.sqrt(top.robust * (1 - top.robust) / top.images) if top.images else 0.0
    return [e for e in history if e.robust >= top.robust - error][-1] if error else top
