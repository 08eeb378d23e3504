"""Threats: what an adversary may change, and how much. They hold the pixel box and every norm, and attack nothing."""

from robustsnn.threats.balls import L2, Ball, Linf
from robustsnn.threats.per_sample import per_sample, positive, spread
from robustsnn.threats.registry import THREATS, USUAL, kind, threat

__all__ = ["L2", "THREATS", "USUAL", "Ball", "Linf", "kind", "per_sample", "positive", "spread", "threat"]
