"""ANN-to-SNN conversion: trace the activations, calibrate thresholds, and replace activations by neurons or staircases."""

from robustsnn.conversion.blueprint import Blueprint, unlike
from robustsnn.conversion.calibration import calibrate
from robustsnn.conversion.converting import ConversionReport, convert, reestimate, renew, spiking
from robustsnn.conversion.fold import bfloat16, folded
from robustsnn.conversion.staircases import climbing, staircase
from robustsnn.conversion.tracing import Layer, trace

__all__ = [
    "Blueprint",
    "ConversionReport",
    "Layer",
    "bfloat16",
    "calibrate",
    "climbing",
    "convert",
    "folded",
    "reestimate",
    "renew",
    "spiking",
    "staircase",
    "trace",
    "unlike",
]
