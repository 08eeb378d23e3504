"""Threats: the set of samples that an adversary may choose from, given by a norm, a radius and the pixel box."""

from robustsnn.threats.balls import L1, L2, THREATS, USUAL, Ball, Linf, kind, threat
from robustsnn.threats.samplewise import per_sample, positive, spread

__all__ = ["L1", "L2", "THREATS", "USUAL", "Ball", "Linf", "kind", "per_sample", "positive", "spread", "threat"]
