"""Adversarial samples instead of a report: found by a protocol, or by attacks of other libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.data import a_network, answers, as_samples
from robustsnn.evaluation.ensemble import Target, judge, worst_case
from robustsnn.evaluation.measures.pilot import pilot
from robustsnn.evaluation.measuring import chosen_groups, radii_of
from robustsnn.evaluation.member import PUBLISHED_PATHS, SCALED_PATHS, Member, leading, members
from robustsnn.evaluation.protocols import Protocol
from robustsnn.evaluation.results import ROBUST
from robustsnn.names import Rule
from robustsnn.seeds import image_seeds
from robustsnn.settings import THREAT_OF
from robustsnn.threats import kind
from robustsnn.types import GradientPath, Threat

BATCH = 250
"""Number of samples that are attacked together."""


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
    """Attack samples with a protocol and return the adversarial samples.

    Arguments:
        net: the attacked network, see `evaluate`; it is not changed.
        x: samples ``[N, ...]``, floats in ``[0, 1]`` or bytes.
        y: labels ``[N]``. Tensors or arrays.
        eps, threat, protocol, attacks, seed: see `evaluate`; one radius.

    Returns:
        ``[N, ...]`` within the threat, on the network's device: for each sample the first misclassified one, or the last one
        tried. Samples that are misclassified without an attack are returned unchanged.

    Raises:
        ValueError: see `evaluate`.

    Example:
        >>> from robustsnn import attack, load
        >>> from robustsnn.data import digits
        >>> x, y = digits().test.batch(torch.arange(4))
        >>> adversarial = attack(load("zoo:digits-robust"), x, y, eps=0.1, attacks=["FGSM"])
        >>> bool(((adversarial - x).abs() <= 0.1 + 1e-6).all())
        True
    """
    samples, (name, radii) = as_samples((x, y)), radii_of(eps, threat or THREAT_OF.get(str(protocol)))
    if len(radii) > 1 and eps is not None:
        raise ValueError(f"attack takes one radius, not {len(radii)}: call it once per radius")
    within = kind(name)(radii[-1])
    a_network(net)
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
    """Run each ensemble on the samples that survived the previous ones, with the same random starts as `evaluate`."""
    adversarial, left = x.clone(), torch.arange(len(x), device=x.device)
    for name, ensemble in ensembles.items():
        seeds = image_seeds(ids[left], seed, name)
        adversarial[left], broken_by = worst_case(ensemble, net, x[left], y[left], rng=seeds, rule=rule)
        left = left[broken_by == ROBUST]
    return adversarial


class Judged(nn.Module):
    """A network that records the first adversarial sample it sees for each of the given samples: see `judged`."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, threat: Threat, path: GradientPath | None) -> None:
        super().__init__()
        self.judge = view(net).eval()
        self.guide = self.judge if path is None else path(self.judge)
        self.threat = threat
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("adversarial", x.clone(), persistent=False)
        self.eval()
        with torch.no_grad():
            self.register_buffer("broken", judge(self.judge, x, y).wrong, persistent=False)
        self.x: Tensor
        self.y: Tensor
        self.adversarial: Tensor
        self.broken: Tensor

    def train(self, mode: bool = True) -> Judged:
        """Stay in eval mode: some libraries switch the network to the mode in which they found it."""
        return super().train(False)

    @property
    def robust(self) -> float:
        """Robust accuracy so far, in ``[0, 1]``; samples misclassified without an attack count as broken."""
        return 1 - float(self.broken.float().mean())

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[n,K]`` of ``x [n, ...]`` and check ``x`` for adversarial samples; their order does not matter."""
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
    """Wrap a network for attacks of other libraries, and judge every sample that they try.

    An attack that returns only its last iterate may have passed a better one. Pass this module to AutoAttack, foolbox or
    torchattacks in place of the network. After one or several attacks, read ``robust``, ``broken [N]`` and ``adversarial
    [N, ...]``: the first misclassified sample within the threat around each of ``x``.

    Arguments:
        net: the network; it is not changed and runs in eval mode.
        x: samples ``[N, ...]`` in ``[0, 1]``.
        y: labels ``[N]``.
        threat: the allowed perturbations.
        path: the gradient path that attacks follow, such as ``Rate()``; the network's own if None.

    Raises:
        ValueError: the samples are invalid, the network cannot take them, or ``threat`` or ``path`` is not a value.

    >>> from robustsnn import Linf, judged, load
    >>> from robustsnn.data import digits
    >>> x, y = digits().test.batch(torch.arange(4))
    >>> net = judged(load("zoo:digits-robust"), x, y, Linf(0.3))
    >>> _ = net((x + 0.3 * torch.ones_like(x)).clamp(0, 1))
    >>> net.adversarial.shape
    torch.Size([4, 1, 8, 8])
    """
    if isinstance(threat, type) or not hasattr(threat, "contains"):
        raise ValueError(f"threat must be a threat with its radius, such as Linf(0.1), not {threat!r}")
    if isinstance(path, type) or not (path is None or callable(path)):
        raise ValueError(f"path must be a value such as Rate(), not {path!r}")
    samples = as_samples((x, y))
    answers(net, samples)
    samples = samples.to(next(net.parameters(), samples.labels).device)
    values, labels, _ = next(samples.batches(len(samples)))
    return Judged(net, values, labels, threat, path)
