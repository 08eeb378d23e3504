"""Robust distillation: a robust teacher's answers in the place of labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import PGD, Gaussian, kl_divergence
from robustsnn.attacks.goals import Losses, begin
from robustsnn.conversion import folded
from robustsnn.ranges import Positive, Share
from robustsnn.training.objectives import Robust
from robustsnn.types import Attack, Classifier, Following, Inputs, Labels, Randomness, Threat


@dataclass(frozen=True)
class Taught(Robust):
    """A robust objective with a teacher.

    Arguments:
        teacher: a trained network with as many classes; or a text that a run binds to one: ``"ann"`` for its own ANN, or a
            checkpoint's file.

    Raises:
        ValueError: in training, a teacher that is still a text.
    """

    teacher: str | nn.Module = "ann"

    def bind(self, networks: Callable[[str], nn.Module]) -> Taught:
        """The same with its teacher, where that is a text."""
        return replace(self, teacher=networks(self.teacher)) if isinstance(self.teacher, str) else self

    @property
    def network(self) -> nn.Module:
        """The teacher as it is asked: in eval mode.

        Raises:
            ValueError: it is still a text.
        """
        if isinstance(self.teacher, str):
            name = type(self).__name__
            raise ValueError(f"{name} has no teacher yet but its name {self.teacher!r}: give a network, or bind(...) one")
        return folded(self.teacher)


@dataclass(frozen=True)
class Distilled(Taught):
    """``clean KL(T(x) || S(x)) + (1 - clean) KL(T(x) || S(x'))``, x' maximising the second divergence (RSLAD, Zi et al. 2021).

    With ``adaptive``, the teacher is asked about x' too, in the attack and in the loss (AdaAD, Huang et al. 2023).

    Arguments:
        teacher: as in `Taught`.
        eps, steps: of the attack, PGD from a start beside the image.
        clean: share of the loss on clean images.
    """

    eps: float = 8 / 255
    steps: int = 2
    clean: Share = 1 / 6
    adaptive: bool = False
    threat: Threat | None = None

    def attack(self) -> Attack:
        return PGD(self.steps, goal=_FromTeacher(self), start=Gaussian(0.001))

    def crafted(self, model: Classifier, x: Inputs, y: Labels, rng: Randomness) -> Inputs:
        return super().crafted(_Answers(model, self.network) if self.adaptive else model, x, y, rng)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        with torch.no_grad():
            taught = self.network(x)
            far = self.network(adversarial) if self.adaptive else taught
        near = self.clean * kl_divergence(taught, net(x)).mean() if self.clean else 0.0
        return near + (1 - self.clean) * kl_divergence(far, net(adversarial)).mean()


@dataclass(frozen=True)
class ARD(Taught):
    """``share t^2 KL(T(x) / t || S(x') / t) + (1 - share) CE(S(x), y)``, x' maximising the cross-entropy of the student
    (adversarially robust distillation, Goldblum et al. 2020).

    Arguments:
        teacher: as in `Taught`.
        eps, steps: of the attack, PGD.
        temperature: t, by which logits are divided.
        share: of the teacher's part of the loss.
    """

    eps: float = 8 / 255
    steps: int = 2
    temperature: Positive = 1.0
    share: Share = 1.0
    threat: Threat | None = None

    def attack(self) -> Attack:
        return PGD(self.steps)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        t = self.temperature
        with torch.no_grad():
            taught = self.network(x)
        far = self.share * t**2 * kl_divergence(taught / t, net(adversarial) / t).mean()
        return far + (1 - self.share) * F.cross_entropy(net(x), y) if self.share < 1 else far


@dataclass(frozen=True)
class _FromTeacher:
    """``KL(T(x) || S(adv))``; with an adaptive teacher ``KL(T(adv) || S(adv))``, of logits that hold both answers."""

    of: Distilled

    def on(self, model: Classifier, x: Inputs, y: Labels) -> Losses:
        if self.of.adaptive:
            return lambda logits, index: kl_divergence(*reversed(logits.chunk(2, 1)))
        with torch.no_grad():
            taught = self.of.network(x)
        return lambda logits, index: kl_divergence(taught[index], logits)


@dataclass(frozen=True)
class _Answers:
    """Logits ``[N,2K]`` of student and teacher."""

    student: Classifier
    teacher: Classifier

    def begin(self, count: int) -> None:
        begin(self.student, count)

    def follow(self, index: Tensor) -> None:
        if isinstance(self.student, Following):
            self.student.follow(index)

    def __call__(self, x: Inputs) -> Tensor:
        return torch.cat([self.student(x), self.teacher(x)], 1)
