"""What an attack maximises, one value per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.types import Classifier, Images, Labels, Logits, PerImage

Losses = Callable[[Tensor, Tensor], Tensor]
"""``losses(logits [n,K], index [n]) -> [n]`` for the images ``index`` of the batch an attack runs on."""


class Goal(Protocol):
    """A value that, told the batch, says what each image's logits are worth."""

    def on(self, model: Classifier, x: Images, y: Labels) -> Losses: ...


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy to the true class."""

    def on(self, model: Classifier, x: Images, y: Labels) -> Losses:
        return lambda logits, index: F.cross_entropy(logits, y[index], reduction="none")


@dataclass(frozen=True)
class KullbackLeibler:
    """``KL(f(x) || f(adv))``: distance from the network's own answer on the clean image, no label needed."""

    def on(self, model: Classifier, x: Images, y: Labels) -> Losses:
        with torch.no_grad():
            clean = model(x)
        return lambda logits, index: kl_divergence(clean[index], logits)


def kl_divergence(p: Logits, q: Logits) -> PerImage:
    """``KL(softmax(p) || softmax(q))`` summed over classes; gradients flow through both."""
    log_p = F.log_softmax(p, 1)
    return (log_p.exp() * (log_p - F.log_softmax(q, 1))).sum(1)
