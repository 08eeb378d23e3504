"""Smoothing of binary event frames: certified numbers of added and deleted events (Bojchevski et al. 2020).

The derivation is in the documentation, page "Certificates".
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from robustsnn.certification.smoothing import Risk
from robustsnn.certification.task import Certificates, Task, told
from robustsnn.certification.voting import elected, lower_bound, poll
from robustsnn.ranges import Count, Range, Ranged, Whole
from robustsnn.threats.flips import Flips
from robustsnn.types import Noise, Threat

Chance = Annotated[float, Range("[0, 1)")]


def masses(additions: int, deletions: int, plus: float, minus: float) -> tuple[Any, Any]:
    """Return the probabilities of ``q = 0, 1, ...`` around a sample x and around the changed sample x', each ``[Q]``.

    ``q`` counts the changed values in which the noisy sample differs from x: each of the ``additions`` (0 in x, 1 in x') does
    with probability ``plus`` around x and ``1 - minus`` around x', each of the ``deletions`` (1 in x, 0 in x') with ``minus``
    and ``1 - plus``. All noisy samples of equal q have the same likelihood ratio.
    """
    from scipy.stats import binom

    def counted(of_additions: float, of_deletions: float) -> Any:
        each = (binom.pmf(np.arange(n + 1), n, p) for n, p in ((additions, of_additions), (deletions, of_deletions)))
        return np.convolve(*each)

    return counted(plus, minus), counted(1 - minus, 1 - plus)


def needed(additions: int, deletions: int, plus: float, minus: float) -> float:
    """Return the probability that a class must exceed at x to keep more than 1/2 at every x' with these changes.

    By the lemma of Neyman and Pearson, the classifier that loses most puts its probability at x where x' is unlikely: in the
    values of q with the largest likelihood ratio. It keeps 1/2 at x' exactly if it has at x what this returns.
    """
    here, there = masses(additions, deletions, plus, minus)
    order = slice(None) if plus + minus <= 1 else slice(None, None, -1)  # the ratio falls, or rises, with q
    here, there = here[order], there[order]
    before = np.concatenate([[0.0], there.cumsum()[:-1]])
    part = np.divide(0.5 - before, there, out=np.ones_like(there), where=there > 0).clip(0, 1)
    part[before >= 0.5] = 0.0
    return float(min(1.0, (part * here).sum()))


def table(plus: float, minus: float, most: tuple[int, int]) -> Any:
    """Return `needed` for all numbers of additions and deletions up to ``most``, ``[A+1, D+1]``; never less than for fewer."""
    found = [[needed(a, d, plus, minus) for d in range(most[1] + 1)] for a in range(most[0] + 1)]
    return np.maximum.accumulate(np.maximum.accumulate(np.array(found), 0), 1)


class SparseCertificates(Certificates, frozen=True):
    """Certificates of a network smoothed by random flips of events.

    Arguments:
        plus, minus: probability that an empty place becomes an event, and that an event is deleted.
        lower: lower bound on the probability of the predicted class under these flips, per sample.
        events: number of events per sample.
        most: largest number of additions and of deletions in the table.
    """

    kind: Literal["sparse"] = "sparse"
    plus: float
    minus: float
    lower: tuple[float, ...]
    events: tuple[int, ...]
    most: tuple[int, int]

    @cached_property
    def needed(self) -> Any:
        """The probability that each number of additions and deletions needs, ``[A+1, D+1]``."""
        return table(self.plus, self.minus, self.most)

    def changed(self, additions: int, deletions: int) -> tuple[bool, ...]:
        """Return which samples stay correct under up to ``additions`` and up to ``deletions`` at once. ``(r, r)`` covers r
        events that move anywhere: each leaves one place and appears at another.

        Raises:
            ValueError: the table ends before.
        """
        if additions > self.most[0] or deletions > self.most[1]:
            raise ValueError(
                f"the table ends at {self.most[0]} additions and {self.most[1]} deletions, not {additions} and {deletions}: "
                "certify with more 'additions' and 'deletions'"
            )
        least = float(self.needed[additions, deletions])
        return tuple(right and p > least for right, p in zip(self.correct, self.lower, strict=True))

    def certified(self, threat: Threat) -> tuple[bool, ...]:
        """Return which samples stay correct under `Flips`, in whatever mixture of additions and deletions."""
        if not isinstance(threat, Flips) or threat.most != 1:
            return super().certified(threat)
        found = []
        for i, events in enumerate(self.events):
            budget = int(threat.budget(torch.ones(1, events)))
            mixed = [(budget - removed, removed) for removed in range(min(budget, events) + 1)]
            reach = all(a <= self.most[0] and d <= self.most[1] for a, d in mixed)
            found.append(self.correct[i] and reach and all(self.lower[i] > float(self.needed[a, d]) for a, d in mixed))
        return tuple(found)

    @property
    def accuracies(self) -> tuple[tuple[float, ...], ...]:
        """The share of samples certified for every number of additions (rows) and deletions (columns)."""
        rights = np.array([p if right else 0.0 for p, right in zip(self.lower, self.correct, strict=True)])
        return tuple(tuple(float((rights > least).mean()) for least in row) for row in self.needed)


@dataclass(frozen=True)
class Bits:
    """Flips bits: every 1 is deleted with probability ``minus``, every 0 becomes 1 with probability ``plus``.

    It is linear in every value, so that a gradient passes: that of the flipped bit.
    """

    plus: float
    minus: float

    def __call__(self, x: Tensor, noise: Noise) -> Tensor:
        drawn = noise.uniform(x)
        return x * (drawn >= self.minus) + (1 - x) * (drawn < self.plus)


@dataclass(frozen=True)
class SparseSmoothing(Ranged):
    """The network ``g(x) = argmax_c P(f(x with random flips) = c)`` for binary event frames.

    An empty place becomes an event with probability ``plus``, which has to be small since most places are empty; an event is
    deleted with probability ``minus``, which may be large. See `SparseCertificates`.

    Arguments:
        plus, minus: the probabilities.
        draws, first, alpha: as in `Smoothing`.
        additions, deletions: largest numbers of each to tabulate.

    Raises:
        ValueError: a value is out of range, or both probabilities are 0.
    """

    plus: Chance = 0.01
    minus: Chance = 0.4
    draws: Count = 10_000
    first: Count = 100
    alpha: Risk = 0.001
    additions: Whole = 10
    deletions: Whole = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.plus and not self.minus:
            raise ValueError("SparseSmoothing needs noise: give plus or minus a value greater than 0")

    @property
    def disturb(self) -> Bits:
        """The noise."""
        return Bits(self.plus, self.minus)

    def certify(self, task: Task) -> SparseCertificates:
        events = torch.cat([_events(x) for x, _, _ in task.data.batches(task.batch)])
        started = time.perf_counter()
        found = poll(task, self.disturb, self.first, self.draws)
        lower = lower_bound(found.hits, self.draws, self.alpha)
        shared: Any = {"predicted": elected(found.chosen, lower), "passes": self.first + self.draws, "alpha": self.alpha}
        own: Any = {"plus": self.plus, "minus": self.minus, "most": (self.additions, self.deletions), "lower": lower}
        own["events"] = events
        return SparseCertificates(**told(time.perf_counter() - started, self, task, **shared, **own))


def _events(x: Tensor) -> Tensor:
    """Return the number of events of every sample. Raises ValueError if a value is neither 0 nor 1."""
    if not ((x == 0) | (x == 1)).all():
        raise ValueError("SparseSmoothing needs binary frames, but the samples hold values other than 0 and 1: clip them")
    return x.flatten(1).sum(1).long()
