"""The common base of this package's attacks, and the choice of the best among several runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import Losses, answer
from robustsnn.ranges import Ranged
from robustsnn.seeds import given, noise
from robustsnn.threats import THREATS, Ball
from robustsnn.types import Attack, Classifier, Inputs, Judge, Kinds, Labels, Noise, Randomness, Threat


@dataclass(frozen=True)
class Task:
    """The input of an attack: samples ``x [N, ...]`` without a graph, int64 labels ``y [N]``, a threat, and ``noise`` drawn
    from ``rng``."""

    model: Classifier
    x: Tensor
    y: Tensor
    threat: Any  # of a kind that the attack supports
    rng: torch.Generator | Tensor
    noise: Noise
    judge: Judge | None


class OwnAttack(Ranged, ABC):
    """Base class of this package's attacks.

    A call checks samples and labels, accepts labels of any integer type, and leaves inference mode, in which every gradient
    would be 0. It runs the model as the caller does, including autocast.
    """

    follows: ClassVar[Kinds] = (Ball,)

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        given_as = next((type(each).__name__ for each in (x, y) if not isinstance(each, Tensor)), "")
        if given_as:
            raise ValueError(f"attacks take tensors, not {given_as}: convert it with torch.as_tensor(...)")
        if not x.is_floating_point():
            raise ValueError(f"attacks need float samples in [0, 1], not {x.dtype}: convert bytes with x.float() / 255")
        if y.is_floating_point() or y.shape != x.shape[:1]:
            raise ValueError(f"labels must be integers [{len(x)}], one per sample, not {y.dtype} {list(y.shape)}")
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self(model, x.clone(), y.clone(), threat, rng=rng, judge=judge)
        threat, x, rng = accepted(self, threat), x.detach(), given(rng)
        if not threat.contains(x, x).all():
            remedy = "divide bytes by 255" if isinstance(threat, Ball) else "set most, clip the counts, or use Linf for images"
            raise ValueError(f"samples must be {threat.takes}, but range over {x.min():.4g} .. {x.max():.4g}: {remedy}")
        return self.search(Task(model, x, y.long(), threat, rng, noise(rng), judge))

    @abstractmethod
    def search(self, task: Task) -> Tensor:
        """Return adversarial samples ``[N, ...]`` within the threat."""


def accepted(attack: Attack | type[Attack], threat: Threat) -> Any:
    """Return the threat if the attack supports its kind.

    Raises:
        ValueError: the attack does not support it.
    """
    if not isinstance(threat, attack.follows):
        name = attack.__name__ if isinstance(attack, type) else type(attack).__name__
        kinds = [name for name, kind in THREATS.items() if isinstance(kind, type) and issubclass(kind, attack.follows)]
        raise ValueError(
            f"{name} does not support the threat {threat!r}: use one of {', '.join(kinds)}, such as {kinds[0]}(0.1)"
        )
    return threat


Run = Callable[[Tensor, Judge | None], Tensor]
"""``run(chosen [n], judge) -> [n, ...]``: one run on the samples ``chosen`` of a task; the judge numbers them from 0."""


def best_of(runs: Sequence[Run], task: Task, worth: Losses) -> Tensor:
    """Return the best result of several runs per sample: a broken one, otherwise the one with the highest ``worth``. Broken
    samples skip the remaining runs."""
    model, x, judge = task.model, task.x, task.judge
    everyone = alive = torch.arange(len(x), device=x.device)
    if len(runs) == 1:
        return runs[0](everyone, judge)
    best, highest = x.clone(), torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
    for run in runs:
        if not len(alive):
            break
        adv = run(alive, None if judge is None else among(judge, alive))
        broken = torch.zeros_like(alive, dtype=torch.bool) if judge is None else judge(adv, alive)
        with torch.no_grad():
            value = worth(answer(model, adv, everyone[: len(alive)]), alive).to(highest.dtype)
        better = broken | (value > highest[alive])
        best[alive[better]], highest[alive[better]] = adv[better], value[better]
        alive = alive[~broken]
    return best


def among(function: Callable[[Tensor, Tensor], Tensor], chosen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Restrict losses, or a judge, of a batch to its ``chosen`` samples, numbered from 0."""
    return lambda values, index: function(values, chosen[index])
