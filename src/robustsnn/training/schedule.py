"""Training schedules: epochs, learning rate, and early stopping."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from robustsnn.history import Epoch
from robustsnn.names import Precision
from robustsnn.ranges import BelowOne, Count, NotNegative, Positive, Ranged, Share

MakeOptimizer = Callable[..., torch.optim.Optimizer]
"""A class of `torch.optim`, or a function with its signature: groups of parameters, ``lr`` and ``weight_decay``."""


@dataclass(frozen=True)
class Schedule(Ranged):
    """Length and speed of training: SGD with momentum, and a cosine learning rate from ``lr`` to 0 over the epochs.

    Arguments:
        epochs, batch: passes over the training images; images per step.
        lr, momentum, weight_decay: of SGD.
        decay: parameters with weight decay: ``"all"``, or only the ``"weights"`` of convolutions and linear layers, without
            norms, biases, thresholds and leaks.
        average: decay per step of a running average of all parameters, which is validated and returned; 0 disables it.
        precision: of convolutions and linear layers; parameters, potentials, norm statistics and validation stay float32.
    """

    epochs: Count = 200
    batch: Count = 64
    lr: Positive = 0.1
    momentum: BelowOne = 0.9
    weight_decay: NotNegative = 5e-4
    decay: Literal["all", "weights"] = "all"
    average: BelowOne = 0.0
    precision: Precision = "float32"

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def optimizer(self, net: nn.Module, make: MakeOptimizer | None = None) -> torch.optim.Optimizer:
        """Return ``make(groups, lr=..., weight_decay=...)`` for all parameters of a network; SGD with momentum if None."""
        kept = [p for p in net.parameters() if self.decay == "weights" and p.dim() < 2]
        still = {id(p) for p in kept}
        groups: list[dict[str, Any]] = [{"params": [p for p in net.parameters() if id(p) not in still]}]
        if kept:
            groups.append({"params": kept, "weight_decay": 0.0})
        make = make or partial(torch.optim.SGD, momentum=self.momentum)
        return make(groups, lr=self.lr, weight_decay=self.weight_decay)


Stop = Callable[[Sequence[Epoch]], bool]
"""Returns whether training should end after the epochs so far."""


@dataclass(frozen=True)
class CatastrophicOverfitting(Ranged):
    """Stop if robust validation accuracy falls more than ``drop`` below its best (Wong et al. 2020)."""

    drop: Share = 0.2

    def __call__(self, history: Sequence[Epoch]) -> bool:
        return history[-1].robust < max(epoch.robust for epoch in history) - self.drop


STOPS: dict[str, Callable[..., Stop]] = {"CatastrophicOverfitting": CatastrophicOverfitting}
