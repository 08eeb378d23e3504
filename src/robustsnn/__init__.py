"""Adversarially robust spiking neural networks: train a robust ANN, convert it, finetune it, measure what it withstands."""

from robustsnn.checkpoint import load, save
from robustsnn.conversion import convert
from robustsnn.evaluation import evaluate
from robustsnn.spiking import (
    LIF,
    PLIF,
    Analog,
    Constant,
    Dynamics,
    Exponential,
    Frames,
    Rate,
    Rectangle,
    SpikingNetwork,
    StraightThrough,
    Surrogate,
    Triangle,
)
from robustsnn.training import train

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "PLIF",
    "Analog",
    "Constant",
    "Dynamics",
    "Exponential",
    "Frames",
    "Rate",
    "Rectangle",
    "SpikingNetwork",
    "StraightThrough",
    "Surrogate",
    "Triangle",
    "convert",
    "evaluate",
    "load",
    "save",
    "train",
]
