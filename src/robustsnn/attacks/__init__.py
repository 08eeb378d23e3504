"""Attacks: values that hold hyper-parameters only, called as ``attack(model, x, y, threat)``. They know nothing of spikes."""

from robustsnn.attacks.apgd import APGD, TargetedAPGD, auto_ascend
from robustsnn.attacks.corners import CornerNoise, UniformNoise
from robustsnn.attacks.fab import FAB
from robustsnn.attacks.goals import DLR, CrossEntropy, KullbackLeibler, Margin, TargetedDLR, kl_divergence
from robustsnn.attacks.gradient import FGSM, PGD, RFGSM, ascend, input_gradient
from robustsnn.attacks.nes import NES
from robustsnn.attacks.own import accepted
from robustsnn.attacks.registry import ATTACKS, GOALS, STARTS, attack
from robustsnn.attacks.sapgd import SAPGD
from robustsnn.attacks.square import Square
from robustsnn.attacks.starts import Boundary, Gaussian, Uniform
from robustsnn.types import Attack


def asks_for_gradients(attack: Attack) -> bool:
    """Whether an attack, or the one that it begins with, follows gradients; otherwise it learns from answers alone."""
    if isinstance(attack, NES):
        return attack.after is not None and asks_for_gradients(attack.after)
    return not isinstance(attack, Square | UniformNoise | CornerNoise)


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
