"""Threats: the set of samples that an adversary may choose from: norm balls in the pixel box, and changes of events."""

from robustsnn.threats.balls import L1, L2, Ball, FrameLinf, Linf
from robustsnn.threats.events import EventThreat
from robustsnn.threats.flips import Flips
from robustsnn.threats.registry import THREATS, USUAL, kind, kind_of, threat
from robustsnn.threats.retiming import Retiming
from robustsnn.threats.samplewise import per_sample, positive, spread

__all__ = [
    "L1",
    "L2",
    "THREATS",
    "USUAL",
    "Ball",
    "EventThreat",
    "Flips",
    "FrameLinf",
    "Linf",
    "Retiming",
    "kind",
    "kind_of",
    "per_sample",
    "positive",
    "spread",
    "threat",
]
