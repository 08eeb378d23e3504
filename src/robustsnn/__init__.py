"""Adversarially robust spiking neural networks: train a robust ANN, convert it, finetune it, measure what it withstands."""

from typing import TYPE_CHECKING

from robustsnn.lazy import attributes

if TYPE_CHECKING:  # what `attributes` gives
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
    from robustsnn.threats import L2, Linf
    from robustsnn.training import train

__version__ = "0.1.0"

__all__ = [
    "L2",
    "LIF",
    "PLIF",
    "Analog",
    "Constant",
    "Dynamics",
    "Exponential",
    "Frames",
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

__getattr__ = attributes(
    __name__,
    {
        "checkpoint": ("load", "save"),
        "conversion": ("convert",),
        "evaluation": ("evaluate",),
        "spiking": (
            *("LIF", "PLIF", "Constant", "Frames", "Analog", "Dynamics", "Exponential", "Rate", "Rectangle", "SpikingNetwork"),
            *("StraightThrough", "Surrogate", "Triangle"),
        ),
        "threats": ("L2", "Linf"),
        "training": ("train",),
    },
)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
