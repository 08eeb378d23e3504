"""Energy and latency attacks ("sponge"): samples that cost a spiking network more, at the same prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robustsnn.attacks import ascent
from robustsnn.attacks.goals import Losses, Margin
from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.data import Samples, a_network, answers, as_samples
from robustsnn.evaluation.attacking import BATCH
from robustsnn.evaluation.measures.energy import PRESETS
from robustsnn.evaluation.meter import Expense, Meter, Reading, Wiring
from robustsnn.names import find
from robustsnn.seeds import image_seeds, noise
from robustsnn.spiking import ForeignNetwork, SpikingNetwork, Surrogate
from robustsnn.types import Classifier, GradientPath, Threat


class Burden(Protocol):
    """An objective of sponge attacks: the cost that they raise."""

    def measured(self, expense: Expense) -> Tensor:
        """Return the cost ``[N]`` by which iterates are compared."""
        ...

    def followed(self, read: Reading) -> Tensor:
        """Return a value ``[N]`` whose gradient guides the attack."""
        ...


@dataclass(frozen=True)
class MoreSpikes:
    """More spikes.

    Arguments:
        weighted: count every spike once per outgoing synapse, as `operations` does; without effect if operations cannot be
            determined, as for networks of other libraries.
    """

    weighted: bool = True

    def measured(self, expense: Expense) -> Tensor:
        return expense.spikes if expense.operations is None or not self.weighted else expense.operations

    def followed(self, read: Reading) -> Tensor:
        return read.spikes if read.accumulates is None or not self.weighted else read.accumulates


@dataclass(frozen=True)
class LaterDecision:
    """A later decision: the first time step from which on the class of the summed logits stays the same.

    The gradient is that of the running margins before the last step: the sum of ``min(max_{j != c} z_j - z_c, 0)`` over the
    mean logits ``z`` of the first 1, ..., T - 1 steps, with the final class ``c``. Raises ValueError if the network does not
    return the logits of every step.
    """

    def measured(self, expense: Expense) -> Tensor:
        if expense.decision is None:
            raise ValueError(
                "LaterDecision needs the logits of every time step, which this network does not return: return [T, N, K] from "
                "the function run of its wrapper, or use MoreSpikes()"
            )
        return expense.decision

    def followed(self, read: Reading) -> Tensor:
        steps = read.steps
        earlier = steps.new_ones(len(steps), len(steps)).tril()
        means = torch.einsum("st,tnk->snk", earlier / earlier.sum(1, keepdim=True), steps)[:-1]
        classes = read.logits.argmax(1).expand(len(means), -1)[..., None]
        margins = means.scatter(2, classes, -torch.inf).amax(2) - means.gather(2, classes)[..., 0]
        return margins.clamp_max(0).sum(0)


@dataclass(frozen=True)
class Sponged:
    """The result of `sponge`.

    Arguments:
        adversarial: the samples found, ``[N, ...]``, within the threat and with the prediction of the clean samples; the clean
            sample where no costlier one was found.
        prediction: the predicted classes, ``[N]``.
        before, after: the cost of the clean and of the adversarial samples.
        random: the cost of the costliest of equally many random samples of the threat that keep the prediction.
    """

    adversarial: Tensor
    prediction: Tensor
    before: Expense
    after: Expense
    random: Expense

    def __str__(self) -> str:
        """Return the means over the samples as a table."""
        kinds = [each.means for each in (self.before, self.random, self.after)]
        rows = [["mean per sample", "clean", "random", "sponge"]]
        rows += [[WORDS[name], *(f"{means[name]:,.1f}" for means in kinds)] for name in kinds[0]]
        return "\n".join(f"{name:<21}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in rows)


WORDS = {
    "spikes": "spikes",
    "operations": "accumulates",
    "energy": "energy in nJ",
    "decision": "steps to the decision",
}


@ieee()
def sponge(
    net: nn.Module,
    x: Any,
    threat: Threat,
    objective: Burden = MoreSpikes(),
    *,
    steps: int = 20,
    restarts: int = 2,
    path: GradientPath = Surrogate(),
    preset: str = "fp32, 45 nm",
    seed: int = 0,
) -> Sponged:
    """Search for samples that cost a spiking network more energy or time, at the same prediction.

    Gradient ascent within the threat: along the gradient of the objective while the prediction is that of the clean sample,
    otherwise back towards it (a switching subgradient method, Polyak 1967). Every iterate is judged by the network's own
    forward pass. The costliest iterate within the threat that keeps the prediction counts. As a control, equally many random
    samples of the threat are judged in the same way.

    Arguments:
        net: a `SpikingNetwork`, or a wrapped network of another library; it is not changed and runs in eval mode.
        x: samples ``[N, ...]`` in ``[0, 1]``, bytes, or `Samples`, whose ids seed the random starts.
        threat: the allowed changes, such as ``Linf(8/255)``, ``Flips(0.02)`` or ``Retiming(1)``.
        objective: `MoreSpikes` or `LaterDecision`.
        steps, restarts: gradient steps of one run, and runs from independent random starts.
        path: the gradient path; it must return the logits of every step, as `Surrogate`, `Scaled` and `Rate` do.
        preset: the arithmetic whose energy is given, one of `PRESETS`.
        seed: of the random starts. An image's result does not depend on the other images.

    Raises:
        ValueError: the network is an ANN, or does not take the samples; the path does not fit it; or a value is invalid.

    >>> from robustsnn import Linf, load
    >>> from robustsnn.data import digits
    >>> found = sponge(load("zoo:digits-robust"), digits().test.first(4), Linf(0.1), steps=2)
    >>> bool((found.after.operations >= found.before.operations).all())
    True
    """
    net = _checked(net, threat)
    attack = ascent(threat, steps, restarts=restarts, goal=_Kept())
    samples = x if isinstance(x, Samples) else as_samples((x, torch.zeros(len(x), dtype=torch.int64)))
    answers(net, samples)
    samples = samples.to(next(net.parameters(), samples.labels).device)
    judged = view(net).eval()
    guide = path(judged)
    if not isinstance(guide, SpikingNetwork | ForeignNetwork):
        raise ValueError(f"{path} does not return the logits of every step: use Surrogate(), Scaled() or Rate()")
    wiring = Wiring.of(judged, samples, find("preset", PRESETS, preset))
    judge, followed = Meter(judged, wiring), Meter(guide, wiring)

    def priced(x: Tensor) -> Tensor:
        read = followed(x)
        return torch.cat([read.logits, objective.followed(read).to(read.steps.dtype)[:, None]], 1)

    found = []
    for values, _, ids in samples.batches(BATCH):
        random, best = (_Costliest(judge, objective, threat, values) for _ in range(2))
        everyone, source = torch.arange(len(values), device=values.device), noise(image_seeds(ids, seed, "sponge control"))
        for _ in range(steps * restarts):
            random(threat.sample(values, source), everyone)
        seeds = image_seeds(ids, seed, "sponge")
        attack(priced, values, best.prediction, threat, rng=seeds, judge=best)
        before, after, control = (best.spent(each) for each in (values, best.adversarial, random.adversarial))
        found.append(Sponged(best.adversarial, best.prediction, before, after, control))
    return _joined(found)


@dataclass(frozen=True)
class _Kept:
    """The last column of the model's output, while the prediction is ``y``; otherwise the margin back to ``y``."""

    def on(self, model: Classifier, x: Tensor, y: Tensor) -> Losses:
        margin = Margin().on(model, x, y)

        def losses(priced: Tensor, index: Tensor) -> Tensor:
            changed = margin(priced[:, :-1], index)
            return torch.where(changed < 0, priced[:, -1], -changed)

        return losses


class _Costliest:
    """A judge that breaks no sample, and keeps the costliest iterate of each that is allowed and predicted as before."""

    def __init__(self, meter: Meter, objective: Burden, threat: Threat, x: Tensor) -> None:
        self.meter, self.objective, self.threat, self.x = meter, objective, threat, x
        self.adversarial, (logits, self.highest) = x.clone(), self._cost(x)
        self.prediction = logits.argmax(1)

    def __call__(self, iterates: Tensor, index: Tensor) -> Tensor:
        logits, cost = self._cost(iterates)
        kept = (logits.argmax(1) == self.prediction[index]) & ~logits.isnan().any(1)
        better = kept & (cost > self.highest[index]) & self.threat.contains(iterates, self.x[index])
        self.adversarial[index[better]], self.highest[index[better]] = iterates[better], cost[better]
        return torch.zeros_like(better)

    def _cost(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            read = self.meter(x)
        return read.logits, self.objective.measured(self.meter.expense(read))

    @torch.no_grad()
    def spent(self, x: Tensor) -> Expense:
        return self.meter.expense(self.meter(x))


def _joined(parts: Sequence[Sponged]) -> Sponged:
    adversarial, prediction = (torch.cat([getattr(part, name) for part in parts]) for name in ("adversarial", "prediction"))
    spent = [Expense.joined([getattr(part, name) for part in parts]) for name in ("before", "after", "random")]
    return Sponged(adversarial, prediction, *spent)


def _checked(net: nn.Module, threat: object) -> SpikingNetwork | ForeignNetwork:
    a_network(net)
    if not isinstance(net, SpikingNetwork | ForeignNetwork):
        raise ValueError(
            f"{type(net).__name__} is not a spiking network and reports no spikes: convert it with robustsnn.convert, or wrap "
            "it with robustsnn.deploy.from_spikingjelly, from_snntorch or from_neurons"
        )
    if isinstance(threat, type) or not hasattr(threat, "contains"):
        raise ValueError(f"threat must be a threat with its radius, such as Linf(0.1), not {threat!r}")
    return net
