"""Attacks: frozen hyper-parameters, called as ``attack(model, x, y, threat)``. They do not depend on spikes.

Recipes, flags and protocols write them as text: ``PGD(steps=50, goal=DLR, start=Gaussian(0.01))``.
"""

import re
from collections.abc import Mapping
from typing import Any

from robustsnn.attacks.apgd import APGD, TargetedAPGD, auto_ascend
from robustsnn.attacks.corners import CornerNoise, UniformNoise
from robustsnn.attacks.event_pgd import EventPGD, ascent
from robustsnn.attacks.event_search import EventSearch
from robustsnn.attacks.fab import FAB
from robustsnn.attacks.goals import DLR, CrossEntropy, Goal, KullbackLeibler, Margin, TargetedDLR, kl_divergence
from robustsnn.attacks.gradient import FGSM, PGD, RFGSM, ascend, input_gradient
from robustsnn.attacks.greedy import GreedyFlips
from robustsnn.attacks.nes import NES
from robustsnn.attacks.own import accepted
from robustsnn.attacks.sapgd import SAPGD
from robustsnn.attacks.sda import SDA
from robustsnn.attacks.square import Square
from robustsnn.attacks.starts import Boundary, Gaussian, Start, Uniform
from robustsnn.names import build, named, nearest
from robustsnn.types import Attack

ATTACKS: dict[str, type[Attack]] = named(
    *(FGSM, RFGSM, PGD, APGD, TargetedAPGD, SAPGD, FAB, NES, Square, UniformNoise, CornerNoise),
    *(EventPGD, GreedyFlips, SDA, EventSearch),
)
GOALS: dict[str, type[Goal]] = named(CrossEntropy, KullbackLeibler, Margin, DLR)
"""Losses that an attack can maximise, by name."""
STARTS: dict[str, type[Start]] = named(Uniform, Gaussian, Boundary)
"""Starting points of an attack, by name."""


def asks_for_gradients(attack: Attack) -> bool:
    """Return whether an attack, or the attack that it starts from, uses gradients; otherwise it uses queries only."""
    if isinstance(attack, NES):
        return attack.after is not None and asks_for_gradients(attack.after)
    return not isinstance(attack, Square | UniformNoise | CornerNoise | EventSearch)


def attack(text: str) -> Attack:
    """Build an attack from its text.

    Raises:
        ValueError: the text cannot be parsed, sets a radius or a norm, or is not an attack with a valid goal and start.

    >>> attack("PGD(start=Gaussian(0.01))").start
    Gaussian(scale=0.01)
    """
    if re.search(r"\b(eps|norm)\s*=", text):
        raise ValueError(
            f"{text}: leave out eps and norm, which belong to the threat: set evaluation.eps and evaluation.threat, or in "
            "training the objective's threat or probe_threat, such as Linf(8/255)"
        )
    made: Any = build("attack", {**ATTACKS, **GOALS, **STARTS}, text)
    if type(made).__name__ not in ATTACKS:
        raise ValueError(f"{text} is not an attack but a part of one: write PGD(goal=DLR) or PGD(start=Gaussian(0.01))")
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
    "SDA",
    "STARTS",
    "Boundary",
    "CornerNoise",
    "CrossEntropy",
    "EventPGD",
    "EventSearch",
    "Gaussian",
    "GreedyFlips",
    "KullbackLeibler",
    "Margin",
    "Square",
    "TargetedAPGD",
    "TargetedDLR",
    "Uniform",
    "UniformNoise",
    "accepted",
    "ascend",
    "ascent",
    "asks_for_gradients",
    "attack",
    "auto_ascend",
    "input_gradient",
    "kl_divergence",
]
