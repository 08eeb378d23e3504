"""Objectives for networks that are to be certified: by smoothing, or by intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import PGD
from robustsnn.certification import Smoothed, bounds
from robustsnn.certification.smoothing import Gaussian
from robustsnn.certification.sparse import Bits, Chance
from robustsnn.conversion import folded
from robustsnn.ranges import BelowOne, Count, Positive, Ranged, Share
from robustsnn.seeds import given, noise
from robustsnn.training.objectives import Robust, one_radius, within
from robustsnn.types import Attack, Inputs, Labels, Randomness, Threat


@dataclass(frozen=True)
class GaussianNoise(Ranged):
    """Training for `Smoothing`: ``CE(f(x + N(0, sigma^2)), y)``, without clipping (Cohen et al. 2019).

    Arguments:
        sigma: standard deviation of the noise; that of the later smoothing.
        smoothing: label smoothing.
    """

    sigma: Positive = 0.25
    smoothing: BelowOne = 0.0

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        return F.cross_entropy(net(Gaussian(self.sigma)(x, noise(rng))), y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class FlippedEvents(Ranged):
    """Training for `SparseSmoothing`: ``CE(f(x with random flips), y)`` for binary event frames.

    Arguments:
        plus, minus: probability that an empty place becomes an event, and that an event is deleted; those of the smoothing.
    """

    plus: Chance = 0.01
    minus: Chance = 0.4

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        return F.cross_entropy(net(Bits(self.plus, self.minus)(x, noise(rng))), y)


@dataclass(frozen=True)
class SmoothAdv(Robust):
    """Adversarial training of the smoothed network (Salman et al. 2019): ``CE(f(x' + noise), y)`` over several noisy copies.

    x' maximises the cross-entropy of the mean probabilities over the same copies. The network in the attack is in eval mode.

    Arguments:
        sigma: standard deviation of the noise.
        eps: radius under L-infinity, ``threat``: another one; usually ``L2(0.5)``.
        steps: steps of PGD.
        copies: noisy copies per sample; each costs a pass per step.
    """

    sigma: Positive = 0.25
    eps: float = 2 / 255
    steps: Count = 2
    copies: Count = 2
    threat: Threat | None = None

    def attack(self) -> Attack:
        return PGD(self.steps)

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        rng = given(rng)
        seeds = rng if isinstance(rng, Tensor) else torch.randint(2**62, (len(x),), generator=rng, device=rng.device)
        adversarial = self.crafted(Smoothed(folded(net), Gaussian(self.sigma), self.copies, seeds), x, y, rng)
        return F.cross_entropy(
            net(Smoothed(net, Gaussian(self.sigma), self.copies, seeds).noisy(adversarial)), y.repeat(self.copies)
        )


@dataclass(frozen=True)
class ProvenMargin(Ranged):
    """Training for `Intervals`: ``(1 - weight) * CE(f(x), y) + weight * CE(worst logits, y)`` (Gowal et al. 2018).

    The worst logits are 0 for the class y and minus the proven margin of y over every other class, see `bounds`. Radius and
    ``weight`` grow linearly from 0 over the first part of a training, since bounds of an untrained network are too loose to
    learn from. Batch norms use running statistics in the bounds.

    Arguments:
        eps: radius under L-infinity, ``threat``: another threat that `bounds` supports.
        weight: final weight of the second term.
        ramp: share of the epochs over which eps and weight grow; 0: none.
    """

    eps: float = 0.05
    weight: Share = 0.5
    ramp: Share = 0.5
    threat: Threat | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_radius(self)

    def at(self, share: float) -> ProvenMargin:
        """Return the objective after a share of the epochs."""
        grown = min(1.0, share / self.ramp) if self.ramp else 1.0
        threat = None if self.threat is None else self.threat.scaled(grown * self.threat.eps)
        return replace(self, eps=grown * self.eps, weight=grown * self.weight, ramp=0.0, threat=threat)

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        clean = F.cross_entropy(net(x), y)
        if not self.weight:
            return clean
        worst = F.cross_entropy(-bounds(net, x, within(self), slack=0.0).margins(y), y)
        return (1 - self.weight) * clean + self.weight * worst
