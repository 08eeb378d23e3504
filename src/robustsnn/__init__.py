"""Adversarially robust spiking neural networks: train a robust ANN, convert it, finetune it, measure what it withstands."""

from robustsnn.checkpoint import load, save
from robustsnn.conversion import convert
from robustsnn.evaluation import evaluate
from robustsnn.spiking import (
    Analog,
    Dynamics,
    Exponential,
    Rate,
    Rectangle,
    SpikingNetwork,
    StraightThrough,
    Surrogate,
    Triangle,
)
from robustsnn.threats import L2, Linf
from robustsnn.training import train

__version__ = "0.1.0"

__all__ = [
    "L2",
    "Analog",
    "Dynamics",
    "Exponential",
    "Linf",
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
