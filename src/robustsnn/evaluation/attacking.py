"""Attacked samples instead of a report: by a protocol, or by whatever another library asks a network about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.data import answers, as_samples
from robustsnn.evaluation.ensemble import Target, worst_case, wrong
from robustsnn.evaluation.measures.pilot import pilot
from robustsnn.evaluation.measuring import chosen_groups, radii_of
from robustsnn.evaluation.member import PUBLISHED_PATHS, SCALED_PATHS, Member, leading, members
from robustsnn.evaluation.protocols import Protocol
from robustsnn.evaluation.results import ROBUST
from robustsnn.names import Rule
from robustsnn.seeds import image_seeds
from robustsnn.threats import kind
from robustsnn.types import GradientPath, Threat

BATCH = 250
"""Samples that are attacked together."""


@ieee()
def attack(
    net: nn.Module,
    x: Any,
    y: Any,
    eps: float | str | None = None,
    *,
    threat: str | Threat | None = None,
    protocol: str | Protocol = "quick",
    attacks: Sequence[str] | None = None,
    seed: int = 0,
) -> Tensor:
    """The worst that a protocol finds for each sample.

    Arguments:
        net: as `evaluate` takes it; untouched.
        x: samples ``[N, ...]`` in ``[0, 1]``, or bytes; y: their labels ``[N]``. Tensors or arrays.
        eps, threat, protocol, attacks, seed: see `evaluate`; one radius.

    Returns:
        ``[N, ...]`` within the threat, on the device of the network: for each sample the first that is misclassified, or the
        last that was tried. A sample that is misclassified as it is stays as it is.

    Raises:
        ValueError: as `evaluate`.

    >>> from robustsnn import attack, load
    >>> from robustsnn.data import digits
    >>> x, y = digits().test.batch(torch.arange(4))
    >>> adversarial = attack(load("zoo:digits-robust"), x, y, eps=0.1, attacks=["FGSM"])
    >>> bool(((adversarial - x).abs() <= 0.1 + 1e-6).all())
    True
    """
    samples, (name, radii) = as_samples((x, y)), radii_of(eps, threat)
    if len(radii) > 1:
        raise ValueError(f"an attack has one radius, not {len(radii)}: call it for each")
    within = kind(name)(radii[0])
    _, chosen, groups = chosen_groups(protocol, attacks, net, within)
    answers(net, samples)
    samples = samples.to(next(net.parameters(), samples.labels).device)
    ranking: Sequence[GradientPath] = ()
    if chosen.ranked:
        known = leading(net, (*PUBLISHED_PATHS, *SCALED_PATHS))
        ranking = list(pilot(Target.of(net), samples, known, within, seed))
    ensembles = {each: members(group, within, net, ranking) for each, group in groups.items()}
    return torch.cat([_attacked(ensembles, net, *batch, seed, chosen.rule) for batch in samples.batches(BATCH)])


def _attacked(
    ensembles: Mapping[str, Sequence[Member]], net: nn.Module, x: Tensor, y: Tensor, ids: Tensor, seed: int, rule: Rule
) -> Tensor:
    """Ensemble after ensemble on the samples that survive those before, with the random starts that `evaluate` gives them."""
    adversarial, left = x.clone(), torch.arange(len(x), device=x.device)
    for name, ensemble in ensembles.items():
        seeds = image_seeds(ids[left], seed, name)
        adversarial[left], broken_by = worst_case(ensemble, net, x[left], y[left], rng=seeds, rule=rule)
        left = left[broken_by == ROBUST]
    return adversarial


class Judged(nn.Module):
    """A network that keeps, for each of some samples, the first adversarial one that it was asked about: see `judged`."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, threat: Threat, path: GradientPath | None) -> None:
        super().__init__()
        self.judge = view(net).eval()
        self.guide = self.judge if path is None else path(self.judge)
        self.threat = threat
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("adversarial", x.clone(), persistent=False)
        with torch.no_grad():
            self.register_buffer("broken", wrong(self.judge, x, y), persistent=False)
        self.x: Tensor
        self.y: Tensor
        self.adversarial: Tensor
        self.broken: Tensor

    @property
    def robust(self) -> float:
        """The share of the samples that withstood everything so far, those that are misclassified anyway counted as lost."""
        return 1 - float(self.broken.float().mean())

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n,K]`` of ``x [n, ...]``, whatever samples these are made from."""
        self._look(x.detach())
        return self.guide(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _look(self, asked: Tensor) -> None:
        if not self.broken.all() and asked.shape[1:] == self.x.shape[1:]:
            logits = self.judge(asked)
            for place in (~self.broken).nonzero().flatten().tolist():
                lost = (logits.argmax(1) != self.y[place]) | logits.isnan().any(1)
                lost &= self.threat.contains(asked, self.x[place].expand_as(asked))
                if lost.any():
                    self.adversarial[place], self.broken[place] = asked[lost][0], True


def judged(net: nn.Module, x: Any, y: Any, threat: Threat, *, path: GradientPath | None = None) -> Judged:
    """A network for attacks of other libraries, which judges every sample that they ask about.

    An attack that only returns its last iterate has often passed a better one. Give this module to AutoAttack, foolbox or
    torchattacks in the place of the network, let several attack it one after the other, and read ``robust``, ``broken [N]``
    and ``adversarial [N, ...]``: the first sample within the threat around each of ``x`` that was misclassified.

    Arguments:
        net: untouched; it runs in eval mode.
        x: samples ``[N, ...]`` in ``[0, 1]``; y: their labels ``[N]``.
        threat: what counts as an attack on them.
        path: the gradient path that attacks follow, such as ``Rate()``; the network's own if None.

    Raises:
        ValueError: samples that are none, or that the network cannot take.

    >>> from robustsnn import Linf, judged, load
    >>> from robustsnn.data import digits
    >>> x, y = digits().test.batch(torch.arange(4))
    >>> net = judged(load("zoo:digits-robust"), x, y, Linf(0.3))
    >>> _ = net((x + 0.3 * torch.ones_like(x)).clamp(0, 1))
    >>> net.adversarial.shape
    torch.Size([4, 1, 8, 8])
    """
    samples = as_samples((x, y))
    answers(net, samples)
    samples = samples.to(next(net.parameters(), samples.labels).device)
    values, labels, _ = next(samples.batches(len(samples)))
    return Judged(net, values, labels, threat, path)
