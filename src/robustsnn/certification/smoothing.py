"""Gaussian smoothing: certified radii for any network, whatever it computes (Cohen et al. 2019)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from robustsnn.certification.task import ABSTAINS, Certificates, Task, told
from robustsnn.certification.voting import elected, lower_bound, poll
from robustsnn.ranges import Count, Positive, Range, Ranged
from robustsnn.threats import L2, Linf
from robustsnn.types import Noise, Threat

Risk = Annotated[float, Range("(0, 1)")]


class GaussianCertificates(Certificates, frozen=True):
    """Certificates of a network smoothed by Gaussian noise.

    Arguments:
        sigma: standard deviation of the noise.
        lower: lower bound on the probability of the predicted class under the noise, per sample.
        size: number of values of a sample.
        largest: the largest L2 radius that the number of draws can certify.
    """

    kind: Literal["gaussian"] = "gaussian"
    sigma: float
    lower: tuple[float, ...]
    size: int
    largest: float

    @property
    def radii(self) -> tuple[float, ...]:
        """The certified L2 radius of every sample; 0 where the network abstains or is wrong."""
        right = zip(self.lower, self.correct, strict=True)
        return tuple(radius(p, self.sigma) if good else 0.0 for p, good in right)

    def certified(self, threat: Threat) -> tuple[bool, ...]:
        reach = self.reach(threat)
        return tuple(right and reach < found for right, found in zip(self.correct, self.radii, strict=True))

    def reach(self, threat: Threat) -> float:
        """Return the L2 radius that covers a threat. Raises ValueError if it is neither `L2` nor `Linf`."""
        if not isinstance(threat, L2 | Linf):
            super().certified(threat)
        return threat.eps * (math.sqrt(self.size) if isinstance(threat, Linf) else 1.0)


def radius(p: float, sigma: float) -> float:
    """Return the certified L2 radius ``sigma * Phi^-1(p)`` for a lower bound ``p`` of the probability; 0 up to 1/2.

    >>> radius(0.5, 0.25), round(radius(0.9, 0.25), 3)
    (0.0, 0.32)
    """
    from scipy.special import ndtri

    return float(sigma * ndtri(p)) if p > 0.5 else 0.0


@dataclass(frozen=True)
class Gaussian:
    """Adds normal noise; the result is not clipped to the range of pixels, since the theory has no clipping."""

    sigma: float

    def __call__(self, x: Tensor, noise: Noise) -> Tensor:
        return x + self.sigma * noise.normal(x)


@dataclass(frozen=True)
class Smoothing(Ranged):
    """The network ``g(x) = argmax_c P(f(x + N(0, sigma^2)) = c)`` and its certified radii.

    ``first`` noisy copies choose a class, ``draws`` others bound its probability ``p`` from below. If ``p > 1/2``, no change
    of L2 norm below ``sigma * Phi^-1(p)`` changes ``g(x)``; otherwise g abstains. The L-infinity radius is that one divided by
    the square root of the number of values. The certificate is about g: f alone, without the noise, may be broken.

    Arguments:
        sigma: standard deviation of the noise, in units of the pixels; finetune the network with the same noise.
        draws, first: numbers of noisy copies per sample.
        alpha: probability that the certificate of a sample is wrong.

    Raises:
        ValueError: a value is out of range.

    >>> round(Smoothing(0.25).largest, 2)  # 3.2 sigma
    0.8
    """

    sigma: Positive = 0.25
    draws: Count = 10_000
    first: Count = 100
    alpha: Risk = 0.001

    @property
    def disturb(self) -> Gaussian:
        """The noise."""
        return Gaussian(self.sigma)

    @property
    def largest(self) -> float:
        """The largest L2 radius that this number of draws can certify: that of a network which always agrees."""
        return radius(self.alpha ** (1 / self.draws), self.sigma)

    def certify(self, task: Task) -> GaussianCertificates:
        started = time.perf_counter()
        found = poll(task, self.disturb, self.first, self.draws)
        lower = lower_bound(found.hits, self.draws, self.alpha)
        shared: Any = {"predicted": elected(found.chosen, lower), "passes": self.first + self.draws, "alpha": self.alpha}
        size = task.data.values[:1].numel()
        own: Any = {"sigma": self.sigma, "lower": lower, "size": size, "largest": self.largest}
        return GaussianCertificates(**told(time.perf_counter() - started, self, task, **shared, **own))


def decided(counts: Tensor, alpha: float) -> Tensor:
    """Return the class of a smoothed network from votes ``[N,K]``, or `ABSTAINS` where the two most frequent classes are not
    significantly different: a returned class is wrong with probability ``alpha`` at most."""
    from scipy.stats import binomtest

    (most, second), order = counts.topk(2, dim=1).values.T, counts.argmax(1)
    sure = [binomtest(int(a), int(a + b)).pvalue <= alpha if a else False for a, b in zip(most, second, strict=True)]
    return torch.where(torch.tensor(sure), order.cpu(), ABSTAINS)
