"""Threats: what an adversary may change, and how much. They hold the pixel box and every norm, and attack nothing."""

from robustsnn.threats.balls import L1, L2, THREATS, USUAL, Ball, Linf, kind, threat
from robustsnn.threats.samplewise import per_sample, positive, spread

__all__ = ["L1", "L2", "THREATS", "USUAL", "Ball", "Linf", "kind", "per_sample", "positive", "spread", "threat"]
