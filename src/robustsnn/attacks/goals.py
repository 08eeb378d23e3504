"""Losses that attacks maximise, one value per image, and forward passes of the attacked model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.ranges import Count, Ranged
from robustsnn.types import Classifier, Following, Inputs, Labels, Logits, PerImage

Losses = Callable[[Tensor, Tensor], Tensor]
"""``losses(logits [n,K], index [n]) -> [n]``; ``index`` gives the images' positions in the attacked batch."""


class Goal(Protocol):
    """A loss: ``on`` binds it to a batch."""

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses: ...


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy to the true class."""

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses:
        return lambda logits, index: F.cross_entropy(logits, y[index], reduction="none")


@dataclass(frozen=True)
class KullbackLeibler:
    """``KL(f(x) || f(adv))``: divergence from the network's own prediction on the clean image; uses no label."""

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses:
        clean = clean_logits(model, x)
        return lambda logits, index: kl_divergence(clean[index], logits)


@dataclass(frozen=True)
class Margin:
    """``max_{i != y} z_i - z_y``: positive if the image is misclassified. Needs two or more classes."""

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses:
        return lambda logits, index: _margin(logits, y[index])


@dataclass(frozen=True)
class DLR:
    """Difference of logits ratio (Croce & Hein 2020, eq. 6), invariant to shift and scale of the logits.

    ``(max_{i != y} z_i - z_y) / (z_(1) - z_(3))`` with ``z_(k)`` the k-th largest logit; with two classes, the margin.
    """

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses:
        def losses(logits: Tensor, index: Tensor) -> Tensor:
            margin = _margin(logits, y[index])
            if logits.shape[1] < 3:
                return margin
            largest = logits.topk(3, dim=1).values
            return margin / (largest[:, 0] - largest[:, 2]).clamp_min(_SMALLEST)

        return losses


@dataclass(frozen=True)
class TargetedDLR(Ranged):
    """Difference of logits ratio towards one wrong class ``t`` (Croce & Hein 2020, eq. 7).

    ``(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2)``; with fewer than four classes, ``z_t - z_y``.

    Arguments:
        rank: rank of ``t`` among the wrong classes by the clean image's logits, from 1 (the likeliest) to K - 1.
    """

    rank: Count = 1

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses:
        wrong = wrong_classes(clean_logits(model, x), y)
        if self.rank > wrong.shape[1]:
            raise ValueError(f"rank {self.rank} of TargetedDLR is too high: this model has {wrong.shape[1]} wrong classes")
        target = wrong[:, self.rank - 1]

        def losses(logits: Tensor, index: Tensor) -> Tensor:
            margin = at(logits, target[index]) - at(logits, y[index])
            if logits.shape[1] < 4:
                return margin
            largest = logits.topk(4, dim=1).values
            return margin / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2).clamp_min(_SMALLEST)

        return losses


def kl_divergence(p: Logits, q: Logits) -> PerImage:
    """Return ``KL(softmax(p) || softmax(q))``, summed over classes in at least float32; gradients flow through both."""
    precise = torch.promote_types(p.dtype, torch.float32)
    log_p, log_q = F.log_softmax(p, 1, dtype=precise), F.log_softmax(q, 1, dtype=precise)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def begin(model: Classifier, count: int) -> None:
    """Announce a new run on ``count`` images to a model that keeps state per image."""
    if isinstance(model, Following):
        model.begin(count)


def answer(model: Classifier, x: Tensor, index: Tensor) -> Tensor:
    """Return logits ``[n,K]`` of ``x [n, ...]``, which are iterates of the images ``index [n]`` of the run."""
    if isinstance(model, Following):
        model.follow(index)
    return model(x)


def clean_logits(model: Classifier, x: Inputs) -> Logits:
    """Return the model's logits ``[N,K]`` on clean images, without a graph."""
    begin(model, len(x))
    with torch.no_grad():
        return answer(model, x, torch.arange(len(x), device=x.device))


GIVES_UP = 8
"""Query attacks may give samples up after one eighth of the queries."""


def hopeless(margin: PerImage, clean: PerImage, share: float) -> Tensor:
    """Return which samples to give up, ``[n]``: those with a margin still below ``share`` times the clean margin (both are
    negative). A share of 1 gives up none."""
    return margin < share * clean if share < 1 else torch.zeros_like(margin, dtype=torch.bool)


_SMALLEST = 1e-12
"""Lower bound of a ratio's denominator, which is 0 if the largest logits are equal."""


def at(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit of one class per sample, ``[N]``."""
    return logits.gather(1, classes[:, None])[:, 0]


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    if logits.shape[1] < 2:
        raise ValueError(f"a margin needs two or more classes, but the model's logits are {tuple(logits.shape)}")
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - at(logits, y)


def wrong_classes(logits: Tensor, y: Tensor) -> Tensor:
    """Return the wrong classes ``[N,K-1]``, the likeliest first."""
    order = logits.argsort(dim=1, descending=True, stable=True)
    wrong: Tensor = order[order != y[:, None]]
    return wrong.view(len(y), logits.shape[1] - 1)
