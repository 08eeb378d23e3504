"""Protocols as data: which ensembles of members an image must survive to count as robust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from robustsnn.attacks import FGSM, PGD, RFGSM
from robustsnn.evaluation.members import PUBLISHED_PATHS, QUICK_PATHS
from robustsnn.types import Attack, GradientPath

Rule = Literal["any", "last"]
"""Which iterates of an attack are judged: every one (stronger and cheaper), or the last one (as published)."""


@dataclass(frozen=True)
class Protocol:
    """Ensembles by name (an attack at a given epsilon, along all the paths) and the rule of success."""

    attacks: dict[str, Callable[[float], Attack]]
    paths: tuple[GradientPath, ...]
    rule: Rule


PROTOCOLS: dict[str, Protocol] = {
    "quick": Protocol({"FGSM": FGSM, "PGD-10": lambda eps: PGD(eps, 10)}, QUICK_PATHS, "any"),
    "paper": Protocol(
        {"FGSM": FGSM, "RFGSM": RFGSM, "PGD-20": lambda eps: PGD(eps, 20)},
        PUBLISHED_PATHS,
        "last",
    ),
}
