"""Attacks: values that hold hyper-parameters only, called as ``attack(model, x, y, threat)``. They know nothing of spikes.

Recipes, flags and protocols spell them: ``PGD(steps=50, goal=DLR, start=Gaussian(0.01))``.
"""

import re
from collections.abc import Mapping
from typing import Any

from robustsnn.attacks.apgd import APGD, TargetedAPGD, auto_ascend
from robustsnn.attacks.corners import CornerNoise, UniformNoise
from robustsnn.attacks.fab import FAB
from robustsnn.attacks.goals import DLR, CrossEntropy, Goal, KullbackLeibler, Margin, TargetedDLR, kl_divergence
from robustsnn.attacks.gradient import FGSM, PGD, RFGSM, ascend, input_gradient
from robustsnn.attacks.nes import NES
from robustsnn.attacks.own import accepted
from robustsnn.attacks.sapgd import SAPGD
from robustsnn.attacks.square import Square
from robustsnn.attacks.starts import Boundary, Gaussian, Start, Uniform
from robustsnn.names import build, named, nearest
from robustsnn.types import Attack

ATTACKS: dict[str, type[Attack]] = named(
    FGSM, RFGSM, PGD, APGD, TargetedAPGD, SAPGD, FAB, NES, Square, UniformNoise, CornerNoise
)
GOALS: dict[str, type[Goal]] = named(CrossEntropy, KullbackLeibler, Margin, DLR)
"""The losses that an attack can maximise, by name."""
STARTS: dict[str, type[Start]] = named(Uniform, Gaussian, Boundary)
"""The places where an attack can begin, by name."""


def asks_for_gradients(attack: Attack) -> bool:
    """Whether an attack, or the one that it begins with, follows gradients; otherwise it learns from answers alone."""
    if isinstance(attack, NES):
        return attack.after is not None and asks_for_gradients(attack.after)
    return not isinstance(attack, Square | UniformNoise | CornerNoise)


def attack(text: str) -> Attack:
    """The attack that a text spells.

    Raises:
        ValueError: text that cannot be read, or that gives a radius or a norm; something else than an attack, a goal
            or a start in the place of one.

    >>> attack("PGD(start=Gaussian(0.01))").start
    Gaussian(scale=0.01)
    """
    if re.search(r"\b(eps|norm)\s*=", text):
        raise ValueError(
            f"{text}: leave out eps and norm, which are the threat's: evaluation.eps and evaluation.threat in what measures, "
            "the objective's threat or probe_threat, such as Linf(8/255), in training"
        )
    made: Any = build("attack", {**ATTACKS, **GOALS, **STARTS}, text)
    if type(made).__name__ not in ATTACKS:
        raise ValueError(f"{text} is no attack, but a part of one: write PGD(goal=DLR) or PGD(start=Gaussian(0.01))")
    parts: tuple[tuple[str, Mapping[str, object]], ...] = (("goal", GOALS), ("start", STARTS))
    for part, known in parts:
        given = type(getattr(made, part, None)).__name__
        if hasattr(made, part) and given not in known:
            raise ValueError(f"{part} of attack {text} cannot be {given}: {nearest(given, known)}")
    return made  # type: ignore[no-any-return]


__all__ = [
    "APGD",
    "ATTACKS",
    "DLR",
    "FAB",
    "FGSM",
    "GOALS",
    "NES",
    "PGD",
    "RFGSM",
    "SAPGD",
    "STARTS",
    "Boundary",
    "CornerNoise",
    "CrossEntropy",
    "Gaussian",
    "KullbackLeibler",
    "Margin",
    "Square",
    "TargetedAPGD",
    "TargetedDLR",
    "Uniform",
    "UniformNoise",
    "accepted",
    "ascend",
    "asks_for_gradients",
    "attack",
    "auto_ascend",
    "input_gradient",
    "kl_divergence",
]
