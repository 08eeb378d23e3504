"""Robust distillation: the outputs of a robust teacher replace the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import Gaussian, ascent, kl_divergence
from robustsnn.attacks.goals import Losses, begin
from robustsnn.conversion import folded
from robustsnn.ranges import Positive, Share
from robustsnn.training.objectives import Robust, within
from robustsnn.types import Attack, Classifier, Following, Inputs, Labels, Randomness, Threat


@dataclass(frozen=True)
class Taught(Robust):
    """A robust objective with a teacher.

    Arguments:
        teacher: a trained network with the same number of classes, or a name that a run resolves: ``"ann"`` for its own ANN,
            or the file of a checkpoint.

    Raises:
        ValueError: training starts while the teacher is still a name.
    """

    teacher: str | nn.Module = "ann"

    def bind(self, networks: Callable[[str], nn.Module]) -> Taught:
        """Return the objective with its teacher network, if the teacher is a name."""
        return replace(self, teacher=networks(self.teacher)) if isinstance(self.teacher, str) else self

    @property
    def network(self) -> nn.Module:
        """The teacher in eval mode. Raises ValueError if it is still a name."""
        if isinstance(self.teacher, str):
            name = type(self).__name__
            raise ValueError(
                f"{name} has no teacher network yet, only the name {self.teacher!r}: give a network, or call bind"
            )
        return folded(self.teacher)


@dataclass(frozen=True)
class Distilled(Taught):
    """Robust distillation (RSLAD, Zi et al. 2021): ``clean KL(T(x) || S(x)) + (1 - clean) KL(T(x) || S(x'))``.

    x' maximises the second divergence. With ``adaptive``, attack and loss also use T(x') (AdaAD, Huang et al. 2023).

    Arguments:
        teacher: as in `Taught`.
        eps, steps: of the attack, PGD with a start close to the image.
        clean: weight of the loss on clean images.
    """

    eps: float = 8 / 255
    steps: int = 2
    clean: Share = 1 / 6
    adaptive: bool = False
    threat: Threat | None = None

    def attack(self) -> Attack:
        return ascent(within(self), self.steps, goal=_FromTeacher(self), start=Gaussian(0.001))

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
    """Robust distillation (Goldblum et al. 2020): ``share t^2 KL(T(x) / t || S(x') / t) + (1 - share) CE(S(x), y)``.

    x' maximises the student's cross-entropy.

    Arguments:
        teacher: as in `Taught`.
        eps, steps: of the attack, PGD.
        temperature: t, by which logits are divided.
        share: weight of the teacher's loss.
    """

    eps: float = 8 / 255
    steps: int = 2
    temperature: Positive = 1.0
    share: Share = 1.0
    threat: Threat | None = None

    def attack(self) -> Attack:
        return ascent(within(self), self.steps)

    def loss(self, net: nn.Module, x: Inputs, adversarial: Inputs, y: Labels) -> Tensor:
        t = self.temperature
        with torch.no_grad():
            taught = self.network(x)
        far = self.share * t**2 * kl_divergence(taught / t, net(adversarial) / t).mean()
        return far + (1 - self.share) * F.cross_entropy(net(x), y) if self.share < 1 else far


@dataclass(frozen=True)
class _FromTeacher:
    """``KL(T(x) || S(adv))``, or with an adaptive teacher ``KL(T(adv) || S(adv))`` from the joint logits of `_Answers`."""

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
