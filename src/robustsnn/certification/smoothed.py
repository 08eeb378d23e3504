"""The smoothed network as an attack sees it: the mean of its probabilities over keyed noise (expectation over noise)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.attacks import PGD
from robustsnn.certification.smoothing import Smoothing, decided
from robustsnn.certification.sparse import SparseSmoothing
from robustsnn.certification.voting import Disturb, votes
from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.data import as_samples
from robustsnn.seeds import image_seeds, noise
from robustsnn.types import Attack, Threat


class Smoothed(nn.Module):
    """The logarithm of a network's mean probabilities over noisy copies of every sample, ``[n, ...] -> [n,K]``.

    The same noise serves every pass, so that an attack climbs a fixed function. It is announced which samples a batch holds,
    as `types.Following` says; an unannounced batch holds the first ones, repeated if it is larger.

    Arguments:
        net: maps samples to logits.
        disturb: adds the noise.
        draws: noisy copies per sample.
        seeds: one seed per sample of the attacked batch, ``[N]``.
    """

    def __init__(self, net: nn.Module, disturb: Disturb, draws: int, seeds: Tensor) -> None:
        super().__init__()
        self.net, self.disturb, self.draws, self.seeds = net, disturb, draws, seeds
        self.eval()
        self.index: Tensor | None = None

    def begin(self, count: int) -> None:
        """Start a run of an attack."""
        self.index = None

    def follow(self, index: Tensor) -> None:
        """Announce that the next pass is of the samples ``index [n]``."""
        self.index = index

    def noisy(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Return the noisy copies of samples, ``[draws*n, ...]``."""
        seeds = self.seeds[: len(x)] if seeds is None else seeds
        every = torch.cat([image_seeds(seeds, "smoothed", draw) for draw in range(self.draws)])
        return self.disturb(x.repeat(self.draws, *[1] * (x.dim() - 1)), noise(every))

    def forward(self, x: Tensor) -> Tensor:
        own = torch.arange(len(x), device=self.seeds.device) % len(self.seeds)
        seeds = self.seeds[own if self.index is None else self.index]
        self.index = None
        logits = self.net(self.noisy(x, seeds)).log_softmax(1).unflatten(0, (self.draws, len(x)))
        return torch.logsumexp(logits, 0)


@ieee()
def attack_smoothed(
    net: nn.Module,
    data: Any,
    threat: Threat,
    smoothing: Smoothing | SparseSmoothing = Smoothing(),
    attack: Attack = PGD(20),
    *,
    path: Callable[[nn.Module], nn.Module] = view,
    copies: int = 16,
    judges: int = 1000,
    batch: int = 16,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attack a smoothed network by the expectation over its noise: an upper bound on what its certificates bound from below.

    Arguments:
        net: the network without noise, see `certify`.
        data: the samples, see `as_samples`.
        threat: the allowed changes.
        smoothing: the noise, and the risk at which an attacked sample is judged.
        attack: climbs the mean of the probabilities over ``copies`` noisy copies.
        path: gradient path through spikes, such as ``Rate()``; by default the network's own gradient.
        judges: other noisy copies, of which a significant majority decides the class of the smoothed network.
        batch: samples per batch.
        seed: of the noise and the attack's start.

    Returns:
        The samples found, ``[N, ...]``, and whether the smoothed network misclassifies each, ``[N]``. A sample for which it
        abstains counts as not broken.
    """
    samples = as_samples(data)
    device = next(net.parameters(), samples.labels).device
    plain, found, broken = view(net).eval(), [], []
    for x, y, ids in samples.to(device).batches(batch):
        guide = Smoothed(path(plain), smoothing.disturb, copies, image_seeds(ids, seed, "attack on smoothing"))
        adv = threat.project(attack(guide, x, y, threat, rng=image_seeds(ids, seed, "start")), x)
        counts = sum(
            votes(plain, adv, ids, smoothing.disturb, range(at, min(at + copies, judges)), seed, "judges")
            for at in range(0, judges, copies)
        )
        assert isinstance(counts, Tensor)
        chosen = decided(counts, smoothing.alpha).to(device)
        found.append(adv)
        broken.append((chosen >= 0) & (chosen != y))
    return torch.cat(found), torch.cat(broken)
