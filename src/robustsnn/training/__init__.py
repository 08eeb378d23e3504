"""Training: objectives as values, one loop for ANN and SNN."""

from robustsnn.training.loop import AfterStep, Epoch, Schedule, ThresholdFloor, best_epoch, train, validate
from robustsnn.training.objectives import OBJECTIVES, Adversarial, Mart, Natural, RobustFinetuning, Trades

__all__ = [
    "OBJECTIVES",
    "Adversarial",
    "AfterStep",
    "Epoch",
    "Mart",
    "Natural",
    "RobustFinetuning",
    "Schedule",
    "ThresholdFloor",
    "Trades",
    "best_epoch",
    "train",
    "validate",
]
