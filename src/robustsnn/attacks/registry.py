"""Attacks as recipes, flags and protocols spell them: ``PGD(steps=50, goal=DLR, start=Gaussian(0.01))``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from robustsnn.attacks.apgd import APGD, TargetedAPGD
from robustsnn.attacks.corners import CornerNoise, UniformNoise
from robustsnn.attacks.fab import FAB
from robustsnn.attacks.goals import DLR, CrossEntropy, Goal, KullbackLeibler, Margin
from robustsnn.attacks.gradient import FGSM, PGD, RFGSM
from robustsnn.attacks.nes import NES
from robustsnn.attacks.sapgd import SAPGD
from robustsnn.attacks.square import Square
from robustsnn.attacks.starts import Boundary, Gaussian, Start, Uniform
from robustsnn.names import build, nearest
from robustsnn.types import Attack

GOALS: dict[str, Callable[..., Goal]] = {
    "CrossEntropy": CrossEntropy,
    "KullbackLeibler": KullbackLeibler,
    "Margin": Margin,
    "DLR": DLR,
}
"""What attacks can maximise."""

STARTS: dict[str, Callable[..., Start]] = {"Uniform": Uniform, "Gaussian": Gaussian, "Boundary": Boundary}
"""Where they can begin."""

ATTACKS: dict[str, type[Attack]] = {
    "FGSM": FGSM,
    "RFGSM": RFGSM,
    "PGD": PGD,
    "APGD": APGD,
    "TargetedAPGD": TargetedAPGD,
    "SAPGD": SAPGD,
    "FAB": FAB,
    "NES": NES,
    "Square": Square,
    "UniformNoise": UniformNoise,
    "CornerNoise": CornerNoise,
}


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
