"""Certificates by intervals: proofs, without any chance of error, for networks that were trained for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustsnn.certification.boxes import Box
from robustsnn.certification.firing import Rows, Rule, rows_of, shown
from robustsnn.certification.propagation import Propagation
from robustsnn.certification.spans import LINEAR, Span
from robustsnn.certification.task import Certificates, Task, told
from robustsnn.compute import copied, view
from robustsnn.conversion.fold import followed
from robustsnn.names import spelled
from robustsnn.spiking import SpikingNetwork
from robustsnn.spiking.spiking import Spiking
from robustsnn.threats import Linf
from robustsnn.threats.flips import Flips
from robustsnn.types import Inputs, Labels, Threat

SLACK = 1e-5
"""Rounding errors to allow for, relative to the size of what a neuron sums: about 100 units in the last place of float32."""


@dataclass(frozen=True)
class Bounds:
    """Bounds on what a network computes for every sample of a threat.

    Arguments:
        low, high: of the logits, ``[N,K]``.
        counts: bounds on the running spike counts of every neuron layer, ``[T, N, ...]``, by module path.
        read: the last linear layer and the box of its input, the mean over time; None if the network ends otherwise.
    """

    low: Tensor
    high: Tensor
    counts: Mapping[str, tuple[Tensor, Tensor]]
    read: tuple[nn.Linear, Box] | None

    def margins(self, y: Labels) -> Tensor:
        """Return lower bounds on ``z_y - z_j`` for every class j, ``[N,K]``; 0 for the class y itself.

        The bound is that of the difference as a whole: both logits depend on the same spikes.
        """
        own = nn.functional.one_hot(y, self.low.shape[1]).to(self.low.dtype)
        if self.read is None:
            found = self.low.gather(1, y[:, None]) - self.high
        else:
            layer, box = self.read
            weight = layer.weight[y][:, None] - layer.weight
            reach = torch.einsum("nkd,nd->nk", weight.abs(), box.radius + box.slack * box.size)
            found = torch.einsum("nkd,nd->nk", weight, box.center) - reach
            if layer.bias is not None:
                found = found + layer.bias[y][:, None] - layer.bias
        return found * (1 - own)

    def robust(self, y: Labels) -> Tensor:
        """Return which samples are proven to be of class y within the threat, ``[N]``."""
        other = nn.functional.one_hot(y, self.low.shape[1]).bool()
        return (self.margins(y) > 0).masked_fill(other, True).all(1)


def bounds(net: nn.Module, x: Inputs, threat: Threat, *, rule: Rule = "counts", slack: float = SLACK) -> Bounds:
    """Bound what a network computes for every sample that a threat allows; differentiable by the network's surrogate.

    Bounds on the running sums of spikes pass through linear layers, norms with fixed statistics, average pools and neurons. A
    neuron that integrates without a leak and subtracts its threshold is bounded exactly.

    Arguments:
        net: a `SpikingNetwork` of `LIF` neurons, or an ANN of ReLUs; it is not changed.
        x: samples ``[N, ...]``.
        threat: `Linf`, `L2`, or `Flips` of binary frames.
        rule: ``"counts"``; ``"steps"`` is the baseline S-IBP, which follows single steps and is never tighter.
        slack: rounding errors to allow for, relative to the size of sums. 0 for training.

    Raises:
        ValueError: the network or the threat has no intervals.

    >>> from robustsnn import Dynamics, LIF
    >>> from robustsnn.seeds import randomness
    >>> with randomness("example"):
    ...     body = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> net = SpikingNetwork(body, Dynamics(4, LIF(reset="subtract")))
    >>> found, x = bounds(net, torch.rand(2, 1, 2, 2), Linf(0.1)), torch.rand(2, 1, 2, 2)
    >>> bool((found.low <= found.high).all())
    True
    """
    spiking = isinstance(net, SpikingNetwork)
    if isinstance(net, Spiking) and not spiking:
        raise ValueError(f"intervals need a SpikingNetwork of this package, not {type(net).__name__}: use Smoothing")
    fresh = view(net).eval()
    body = fresh.body if isinstance(fresh, SpikingNetwork) else fresh
    given, span = _input(fresh, x, threat, rule, slack)
    run = Propagation(body, followed(body), rule, span, dense=not spiking)
    out = run.run(given)
    if not isinstance(out, Box):
        raise ValueError(f"the logits of {type(net).__name__} do not depend on its neurons: intervals need neurons in between")
    read = None if run.read is None else (run.read[0], _mean(run.read[1], fresh, rule))
    found = _mean(out, fresh, rule)
    return Bounds(found.low, found.high, run.counts, read)


def _input(net: nn.Module, x: Tensor, threat: Threat, rule: Rule, slack: float) -> tuple[Any, Span | None]:
    """Return the input of a body: the box of the samples, or the basis of a span."""
    rows: Rows | None = None
    frames = x[None]
    steps = 1
    if isinstance(net, SpikingNetwork):
        steps = net.timesteps
        begun = net.begun(x)
        if begun is not x:  # every step has an input of its own
            frames, rows = begun.unflatten(0, (steps, -1)), rows_of(net.dynamics, rule)
        else:
            rows_of(net.dynamics, rule)
    if isinstance(threat, Linf):
        low, high = threat.boxed(frames - threat.eps), threat.boxed(frames + threat.eps)
        return (Box.between(low[0], high[0], x.new_ones(1), slack) if rows is None else shown(low, high, rows, slack)), None
    if not isinstance(threat, LINEAR) or not isinstance(net, SpikingNetwork):
        raise ValueError(f"intervals of {type(net).__name__} do not support the threat {threat!r}: use Linf")
    if isinstance(threat, Flips):
        if not ((x == 0) | (x == 1)).all():
            raise ValueError("flips need binary frames, but the samples hold values other than 0 and 1: clip them")
        if threat.most != 1:
            raise ValueError(f"intervals need flips of binary frames, not {threat!r}: use most=1")
    if rows is not None and net.signal.once:
        frames, rows = x[None], None
    span = Span(frames, threat, rows, steps, slack)
    return span.basis, span


def _mean(box: Box, net: nn.Module, rule: Rule) -> Box:
    """Return the box of the mean over all time steps, ``[N, ...]``."""
    if not isinstance(net, SpikingNetwork):
        return box
    count = len(box.center) // len(box.times)
    if rows_of(net.dynamics, rule) == "steps":
        last = replace(box, center=_summed(box.center, count), radius=_summed(box.radius, count))
    else:
        last = replace(box, center=box.center[-count:], radius=box.radius[-count:])
    shared = replace(last, center=last.center / net.timesteps, radius=last.radius / net.timesteps)
    return replace(shared, times=box.times.new_ones(1))


def _summed(values: Tensor, count: int) -> Tensor:
    total: Tensor = values.unflatten(0, (-1, count)).sum(0)
    return total


class IntervalCertificates(Certificates, frozen=True):
    """Certificates by intervals.

    Arguments:
        threats: the threats, as text.
        robust: which samples are proven to be classified correctly, per threat.
    """

    kind: Literal["intervals"] = "intervals"
    threats: tuple[str, ...]
    robust: tuple[tuple[bool, ...], ...]

    def certified(self, threat: Threat) -> tuple[bool, ...]:
        """Return which samples are proven for one of `threats`. Raises ValueError for any other threat."""
        if (name := spelled(threat)) not in self.threats:
            raise ValueError(f"intervals were computed for {', '.join(self.threats)}, not for {name}: certify again with it")
        return self.robust[self.threats.index(name)]


@dataclass(frozen=True)
class Intervals:
    """Proofs by bounds on spike counts, see `bounds`: no chance of error, one pass per threat, a deterministic network.

    Arguments:
        threats: the threats to certify.
        rule: see `bounds`.

    Raises:
        ValueError: there is no threat.
    """

    threats: tuple[Threat, ...] = (Linf(0.05), Linf(0.1))
    rule: Rule = "counts"

    def __post_init__(self) -> None:
        threats = self.threats if isinstance(self.threats, tuple | list) else (self.threats,)
        if not threats or not all(hasattr(threat, "project") for threat in threats):
            raise ValueError(f"Intervals needs threats such as [Linf(0.05), Linf(0.1)], not {self.threats!r}")
        object.__setattr__(self, "threats", tuple(threats))

    @torch.no_grad()
    def certify(self, task: Task) -> IntervalCertificates:
        started, count = time.perf_counter(), len(task.data)
        exact = copied(task.net).double()
        predicted = torch.zeros(count, dtype=torch.int64)
        robust = torch.zeros(len(self.threats), count, dtype=torch.int64)
        done = 0
        for index in task.mine.split(task.batch):
            x, y, _ = task.samples(index)
            predicted[index] = task.net(x).argmax(1).cpu()
            for number, threat in enumerate(self.threats):
                robust[number, index] = bounds(exact, x.double(), threat, rule=self.rule).robust(y).long().cpu()
            done += len(index)
            task.on_progress("intervals", done / len(task.mine))
        known = torch.stack([task.team.merge(each) for each in robust]) * (
            task.team.merge(predicted) == task.data.labels.cpu()
        )
        own: Any = {"threats": tuple(spelled(threat) for threat in self.threats)}
        own |= {"robust": tuple(tuple(map(bool, row)) for row in known.tolist()), "passes": 2 * len(self.threats)}
        whole = told(time.perf_counter() - started, self, task, predicted=task.team.merge(predicted), alpha=0.0, **own)
        return IntervalCertificates(**whole)
