"""Attacks: values that hold hyper-parameters only, called as ``attack(model, x, y, rng=...)``. They know nothing of spikes."""

from robustsnn.attacks.balls import L2, Linf
from robustsnn.attacks.goals import CrossEntropy, KullbackLeibler, kl_divergence
from robustsnn.attacks.gradient import FGSM, PGD, RFGSM, Gaussian, Uniform, ascend, input_gradient
from robustsnn.types import Attack

ATTACKS: dict[str, type[Attack]] = {"FGSM": FGSM, "RFGSM": RFGSM, "PGD": PGD}

__all__ = [
    "ATTACKS",
    "FGSM",
    "L2",
    "PGD",
    "RFGSM",
    "CrossEntropy",
    "Gaussian",
    "KullbackLeibler",
    "Linf",
    "Uniform",
    "ascend",
    "input_gradient",
    "kl_divergence",
]
