"""Training: objectives and regularisers as values, and one training loop for ANN and SNN."""

from robustsnn.history import Epoch, best_epoch, read_history
from robustsnn.training.after_step import AFTER_STEP, LeakRange, Retraction, ThresholdFloor
from robustsnn.training.along import Along
from robustsnn.training.binding import bound
from robustsnn.training.certified import FlippedEvents, GaussianNoise, ProvenMargin, SmoothAdv
from robustsnn.training.distill import ARD, Distilled
from robustsnn.training.fast import FastAdversarial, NoisyFast
from robustsnn.training.hire import Hire
from robustsnn.training.loop import AfterStep, train, validate
from robustsnn.training.objectives import (
    Adversarial,
    Mart,
    Natural,
    Robust,
    RobustFinetuning,
    Trades,
    WeightPerturbed,
    probe_of,
)
from robustsnn.training.pruning import KeepZeros, prune
from robustsnn.training.registry import OBJECTIVES, objective
from robustsnn.training.regularizers import MembraneMargin, PotentialOverlap, Regularized, SparseGradients
from robustsnn.training.schedule import STOPS, CatastrophicOverfitting, Schedule, Stop
from robustsnn.training.steady import Steady

__all__ = [
    "AFTER_STEP",
    "ARD",
    "OBJECTIVES",
    "STOPS",
    "Adversarial",
    "AfterStep",
    "Along",
    "CatastrophicOverfitting",
    "Distilled",
    "Epoch",
    "FastAdversarial",
    "FlippedEvents",
    "GaussianNoise",
    "Hire",
    "KeepZeros",
    "LeakRange",
    "Mart",
    "MembraneMargin",
    "Natural",
    "NoisyFast",
    "PotentialOverlap",
    "ProvenMargin",
    "Regularized",
    "Retraction",
    "Robust",
    "RobustFinetuning",
    "Schedule",
    "SmoothAdv",
    "SparseGradients",
    "Steady",
    "Stop",
    "ThresholdFloor",
    "Trades",
    "WeightPerturbed",
    "best_epoch",
    "bound",
    "objective",
    "probe_of",
    "prune",
    "read_history",
    "train",
    "validate",
]
