"""What training minimises, as values called ``objective(net, x, y, rng=...) -> scalar``.

Inner attacks run on a view of the network in eval mode; the network itself stays as it is (usually in train mode) for the
outer forward passes, so that its batch norms see clean and adversarial images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import PGD, RFGSM, Gaussian, KullbackLeibler, kl_divergence
from robustsnn.spiking import rewire
from robustsnn.types import Attack, Images, Labels, Logits, Objective


def attacked(net: nn.Module, attack: Attack, x: Images, y: Labels, rng: torch.Generator) -> Images:
    """Adversarial images of ``attack`` on a view of ``net`` in eval mode."""
    return attack(rewire(net, lambda _, __: None).eval(), x, y, rng=rng)


def trades_loss(clean: Logits, adversarial: Logits, y: Labels, beta: float) -> Tensor:
    """``CE(clean, y) + beta * KL(clean || adversarial)``, averaged over the batch; gradients flow through both."""
    return F.cross_entropy(clean, y) + beta * kl_divergence(clean, adversarial).mean()


@dataclass(frozen=True)
class Natural:
    """``CE(f(x), y)``: no robustness."""

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: torch.Generator) -> Tensor:
        return F.cross_entropy(net(x), y)


@dataclass(frozen=True)
class Adversarial:
    """``CE(f(x'), y)`` with x' from PGD (Madry et al. 2018)."""

    eps: float = 2 / 255
    steps: int = 10

    def attack(self) -> Attack:
        """The inner maximisation."""
        return PGD(self.eps, self.steps)

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: torch.Generator) -> Tensor:
        return F.cross_entropy(net(attacked(net, self.attack(), x, y, rng)), y)


@dataclass(frozen=True)
class Trades:
    """``CE(f(x), y) + beta * KL(f(x) || f(x'))`` with x' maximising the divergence (Zhang et al. 2019)."""

    beta: float = 6.0
    eps: float = 2 / 255
    steps: int = 10

    def attack(self) -> Attack:
        """The inner maximisation."""
        return PGD(self.eps, self.steps, goal=KullbackLeibler(), start=Gaussian(0.001))

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: torch.Generator) -> Tensor:
        adversarial = attacked(net, self.attack(), x, y, rng)
        return trades_loss(net(x), net(adversarial), y, self.beta)


@dataclass(frozen=True)
class Mart:
    """Boosted cross-entropy on x' plus a divergence weighted by misclassification (Wang et al. 2020)."""

    beta: float = 4.0
    eps: float = 2 / 255
    steps: int = 10

    def attack(self) -> Attack:
        """The inner maximisation."""
        return PGD(self.eps, self.steps, start=Gaussian(0.001))

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: torch.Generator) -> Tensor:
        adversarial = attacked(net, self.attack(), x, y, rng)
        return mart_loss(net(x), net(adversarial), y, self.beta)


def mart_loss(clean: Logits, adversarial: Logits, y: Labels, beta: float) -> Tensor:
    """The loss of MART from logits on clean and adversarial images."""
    p_adv = adversarial.softmax(1)
    others = p_adv.masked_fill(F.one_hot(y, p_adv.shape[1]).bool(), -1.0)
    margin = F.nll_loss(torch.log(1.0001 - p_adv + 1e-12), others.argmax(1))
    p_true = clean.softmax(1).gather(1, y[:, None])[:, 0]
    weighted = (kl_divergence(clean, adversarial) * (1.0000001 - p_true)).mean()
    return F.cross_entropy(adversarial, y) + margin + beta * weighted


@dataclass(frozen=True)
class RobustFinetuning:
    """``CE(f(x), y) + beta * KL(f(x) || f(x'))`` with x' one random and one gradient step away.

    The step of size ``alpha`` is random, the rest of ``eps`` climbs ``KL(f(x) || f(.))`` through the network's own
    surrogate (Ozdenizci & Legenstein 2024, section 4.3).
    """

    eps: float = 2 / 255
    alpha: float = 1 / 255
    beta: float = 2.0

    def attack(self) -> Attack:
        """The inner maximisation."""
        return RFGSM(self.eps, self.alpha / self.eps if self.eps else 0.0, goal=KullbackLeibler())

    def __call__(self, net: nn.Module, x: Images, y: Labels, *, rng: torch.Generator) -> Tensor:
        adversarial = attacked(net, self.attack(), x, y, rng)
        return trades_loss(net(x), net(adversarial), y, self.beta)


OBJECTIVES: dict[str, type[Objective]] = {
    "Natural": Natural,
    "Adversarial": Adversarial,
    "Trades": Trades,
    "Mart": Mart,
    "RobustFinetuning": RobustFinetuning,
}
