"""Training objectives: values called ``objective(net, x, y, rng=...) -> scalar loss``.

A robust objective has two parts: ``attack()``, the inner maximisation within a threat, and ``loss(net, x, adversarial, y)``.
The attack runs on a view of the network in eval mode. The loss uses the network as it is (usually in train mode), so that its
batch norms see clean and adversarial images.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import RFGSM, EventPGD, Gaussian, KullbackLeibler, accepted, ascent, kl_divergence
from robustsnn.compute import with_tensors
from robustsnn.conversion import folded
from robustsnn.models import weight_layers, weight_of
from robustsnn.ranges import BelowOne, NotNegative, Ranged
from robustsnn.threats import EventThreat, Linf
from robustsnn.types import Attack, Classifier, Inputs, Labels, Logits, Objective, Randomness, Threat

Pass = Callable[[nn.Module], Tensor]
"""The loss of one optimiser step as a function of the network."""


def passes(objective: Objective, x: Inputs, y: Labels, rng: Randomness, share: float = 1.0) -> Iterator[Pass]:
    """Return the losses of a batch, one per optimiser step; the caller steps before it asks for the next.

    Arguments:
        share: share of the epochs that is over, which an objective with ``at(share)`` changes with.
    """
    objective = objective.at(share) if hasattr(objective, "at") else objective
    if hasattr(objective, "passes"):
        yield from objective.passes(x, y, rng)
    else:
        yield lambda net: objective(net, x, y, rng=rng)


def one_radius(objective: Any) -> None:
    """Set ``eps`` of an objective to the radius of its ``threat``, if it has one.

    Raises:
        ValueError: ``threat`` is not a threat, or ``eps`` is out of range or differs from its radius.
    """
    kind, threat = type(objective), within(objective)
    if getattr(objective, "threat", None) is not None:
        if not hasattr(threat, "project"):
            raise ValueError(f"threat of {kind.__name__} must be a threat such as L2(0.5), not {threat}")
        if objective.eps not in (getattr(kind, "eps", threat.eps), threat.eps):
            raise ValueError(f"{kind.__name__}: give either eps, for L-infinity, or threat={threat}, not both")
        object.__setattr__(objective, "eps", threat.eps)


def within(objective: Any) -> Threat:
    """Return an objective's threat: its ``threat``, else the L-infinity ball of radius ``eps``, else of 2/255."""
    inner = getattr(objective, "inner", getattr(objective, "objective", objective))  # a wrapped objective
    if inner is not objective:
        return within(inner)
    threat: Threat | None = getattr(objective, "threat", None)
    return Linf(getattr(objective, "eps", 2 / 255)) if threat is None else threat


def trades_loss(clean: Logits, adversarial: Logits, y: Labels, beta: float, smoothing: float = 0.0) -> Tensor:
    """Return ``CE(clean, y) + beta * KL(clean || adversarial)``, averaged over the batch; gradients flow through both."""
    return F.cross_entropy(clean, y, label_smoothing=smoothing) + beta * kl_divergence(clean, adversarial).mean()


def mart_loss(clean: Logits, adversarial: Logits, y: Labels, beta: float) -> Tensor:
    """Return the MART loss from logits on clean and adversarial images."""
    p_adv = adversarial.softmax(1)
    others = p_adv.masked_fill(F.one_hot(y, p_adv.shape[1]).bool(), -1.0)
    margin = F.nll_loss(torch.log(1.0001 - p_adv + 1e-12), others.argmax(1))
    p_true = clean.softmax(1).gather(1, y[:, None])[:, 0]
    weighted = (kl_divergence(clean, adversarial) * (1.0000001 - p_true)).mean()
    return F.cross_entropy(adversarial, y) + margin + beta * weighted


class Robust(Ranged, ABC):
    """An objective of the form ``min over weights, max over samples``.

    All have the fields ``eps``, the radius under L-infinity, and ``threat``, another threat that replaces it.
    """

    smoothing = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_radius(self)
        accepted(self.attack(), within(self))  # checks the number of steps

    @abstractmethod
    def attack(self) -> Attack:
        """Return the attack of the inner maximisation."""

    def crafted(self, model: Classifier, x: Inputs, y: Labels, rng: Randomness) -> Inputs:
        """Return adversarial samples ``[N, ...]`` for ``model``, the network in eval mode."""
        return self.attack()(model, x, y, within(self), rng=rng)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        """Return the loss on clean and adversarial images; by default the cross-entropy on adversarial ones."""
        return F.cross_entropy(net(adversarial), y, label_smoothing=self.smoothing)

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        return self.loss(net, x, self.crafted(folded(net), x, y, rng), y)


@dataclass(frozen=True)
class Natural:
    """Standard training without robustness: ``CE(f(x), y)``."""

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        return F.cross_entropy(net(x), y)


def probe_of(objective: Objective) -> Attack | None:
    """Return the attack that selects the best epoch of a training: `ascent` of ten steps, or None for `Natural`."""
    return None if isinstance(objective, Natural) else ascent(within(objective), 10)


@dataclass(frozen=True)
class Adversarial(Robust):
    """Adversarial training: ``CE(f(x'), y)`` with x' from PGD (Madry et al. 2018)."""

    eps: float = 2 / 255
    steps: int = 10
    threat: Threat | None = None

    def attack(self) -> Attack:
        return ascent(within(self), self.steps)


@dataclass(frozen=True)
class Trades(Robust):
    """TRADES: ``CE(f(x), y) + beta * KL(f(x) || f(x'))`` with x' maximising the divergence (Zhang et al. 2019)."""

    beta: NotNegative = 6.0
    eps: float = 2 / 255
    steps: int = 10
    smoothing: BelowOne = 0.0
    threat: Threat | None = None

    def attack(self) -> Attack:
        return ascent(within(self), self.steps, goal=KullbackLeibler(), start=Gaussian(0.001))

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        return trades_loss(net(x), net(adversarial), y, self.beta, self.smoothing)


@dataclass(frozen=True)
class Mart(Robust):
    """MART: boosted cross-entropy on x' plus a divergence weighted by misclassification (Wang et al. 2020)."""

    beta: NotNegative = 4.0
    eps: float = 2 / 255
    steps: int = 10
    threat: Threat | None = None

    def attack(self) -> Attack:
        return ascent(within(self), self.steps, start=Gaussian(0.001))

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        return mart_loss(net(x), net(adversarial), y, self.beta)


class Around(Robust):
    """A robust objective that wraps another one, ``inner``, and uses its adversarial images.

    Raises:
        ValueError: ``inner`` is not robust, or a number is out of range.
    """

    inner: Robust

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Robust):
            raise ValueError(f"{type(self).__name__} wraps a robust objective such as Trades(), not {self.inner}")
        super().__post_init__()

    def attack(self) -> Attack:
        return self.inner.attack()

    def crafted(self, model: Classifier, x: Inputs, y: Labels, rng: Randomness) -> Inputs:
        return self.inner.crafted(model, x, y, rng)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        return self.inner.loss(net, x, adversarial, y)


@dataclass(frozen=True)
class WeightPerturbed(Around):
    """Adversarial weight perturbation (AWP, Wu et al. 2020) around a robust objective.

    The loss is taken at weights ``w + gamma * |w| * g / |g|`` per convolution and linear layer, where ``g`` is the gradient of
    the inner loss at ``w``. Norms, biases and thresholds are not perturbed. The network's own weights do not change.

    Arguments:
        inner: the objective; both losses use its adversarial images.
        gamma: relative size of the perturbation; 0.01 for adversarial training, 0.005 for TRADES.
    """

    inner: Robust = Trades()
    gamma: NotNegative = 0.005

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        given = {f"{name}.weight": weight_of(layer) for name, layer in weight_layers(net).items()}
        weights = {name: weight for name, weight in given.items() if weight.requires_grad}
        scratch = with_tensors(net, {name: buffer.clone() for name, buffer in net.named_buffers()} | weights)
        gradients = torch.autograd.grad(self.inner.loss(scratch, x, adversarial, y), list(weights.values()))
        steps = (
            self.gamma * w.norm() / g.norm().clamp_min(1e-20) * g for w, g in zip(weights.values(), gradients, strict=True)
        )
        moved = {name: w + step.detach() for (name, w), step in zip(weights.items(), steps, strict=True)}
        return self.inner.loss(with_tensors(net, moved), x, adversarial, y)


@dataclass(frozen=True)
class RobustFinetuning(Robust):
    """Robust finetuning: ``CE(f(x), y) + beta * KL(f(x) || f(x'))`` with x' one random and one gradient step from x.

    The random step has size ``alpha``. The gradient step uses the rest of ``eps`` to maximise ``KL(f(x) || f(.))`` through the
    network's own surrogate (Ozdenizci & Legenstein 2024, section 4.3). Under a threat to events, the random step uses the
    whole budget, the gradient chooses the changes anew, and ``alpha`` has no effect.

    Raises:
        ValueError: ``alpha`` is outside ``[0, eps]``.
    """

    eps: float = 2 / 255
    alpha: float = 1 / 255
    beta: NotNegative = 2.0
    smoothing: BelowOne = 0.0
    threat: Threat | None = None

    def __post_init__(self) -> None:
        one_radius(self)
        if not 0 <= self.alpha <= self.eps:
            raise ValueError(f"alpha, the random step, must be in [0, eps = {self.eps:g}], not {self.alpha:g}")
        super().__post_init__()

    def attack(self) -> Attack:
        if isinstance(within(self), EventThreat):
            return EventPGD(1, goal=KullbackLeibler())
        return RFGSM(self.alpha / self.eps if self.eps else 0.0, goal=KullbackLeibler())

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        return trades_loss(net(x), net(adversarial), y, self.beta, self.smoothing)
