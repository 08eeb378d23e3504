"""Training: objectives as values, regularisers that compose with them, one loop for ANN and SNN."""

from robustsnn.training.after_step import Retraction, ThresholdFloor
from robustsnn.training.loop import AfterStep, CatastrophicOverfitting, Epoch, Schedule, best_epoch, train, validate
from robustsnn.training.objectives import (
    Adversarial,
    FastAdversarial,
    Mart,
    Natural,
    RobustFinetuning,
    Trades,
    WeightPerturbed,
)
from robustsnn.training.regularizers import MembraneMargin, PotentialOverlap, Regularized, SparseGradients
from robustsnn.training.spelled import OBJECTIVES, objective

__all__ = [
    "OBJECTIVES",
    "Adversarial",
    "AfterStep",
    "CatastrophicOverfitting",
    "Epoch",
    "FastAdversarial",
    "Mart",
    "MembraneMargin",
    "Natural",
    "PotentialOverlap",
    "Regularized",
    "Retraction",
    "RobustFinetuning",
    "Schedule",
    "SparseGradients",
    "ThresholdFloor",
    "Trades",
    "WeightPerturbed",
    "best_epoch",
    "objective",
    "train",
    "validate",
]
