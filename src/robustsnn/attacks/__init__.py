"""Attacks: values that hold hyper-parameters only, called as ``attack(model, x, y, rng=...)``. They know nothing of spikes."""

from collections.abc import Callable

from robustsnn.attacks.apgd import APGD, TargetedAPGD, auto_ascend
from robustsnn.attacks.balls import L2, Linf
from robustsnn.attacks.corners import CornerNoise, UniformNoise
from robustsnn.attacks.fab import FAB
from robustsnn.attacks.goals import DLR, CrossEntropy, Goal, KullbackLeibler, Margin, TargetedDLR, kl_divergence
from robustsnn.attacks.gradient import FGSM, PGD, RFGSM, Boundary, Gaussian, Uniform, ascend, input_gradient
from robustsnn.attacks.sapgd import SAPGD
from robustsnn.attacks.square import Square
from robustsnn.types import Attack

GOALS: dict[str, Callable[..., Goal]] = {
    "CrossEntropy": CrossEntropy,
    "KullbackLeibler": KullbackLeibler,
    "Margin": Margin,
    "DLR": DLR,
}
"""What attacks can maximise."""

ATTACKS: dict[str, type[Attack]] = {
    "FGSM": FGSM,
    "RFGSM": RFGSM,
    "PGD": PGD,
    "APGD": APGD,
    "TargetedAPGD": TargetedAPGD,
    "SAPGD": SAPGD,
    "FAB": FAB,
    "Square": Square,
    "UniformNoise": UniformNoise,
    "CornerNoise": CornerNoise,
}

GRADIENT_FREE = (Square, UniformNoise, CornerNoise)
"""Attacks that ask for no gradient."""

__all__ = [
    "APGD",
    "ATTACKS",
    "DLR",
    "FAB",
    "FGSM",
    "GOALS",
    "GRADIENT_FREE",
    "L2",
    "PGD",
    "RFGSM",
    "SAPGD",
    "Boundary",
    "CornerNoise",
    "CrossEntropy",
    "Gaussian",
    "KullbackLeibler",
    "Linf",
    "Margin",
    "Square",
    "TargetedAPGD",
    "TargetedDLR",
    "Uniform",
    "UniformNoise",
    "ascend",
    "auto_ascend",
    "input_gradient",
    "kl_divergence",
]
