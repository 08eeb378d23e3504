"""ANN to SNN: trace the activations, calibrate thresholds, place neurons."""

from robustsnn.conversion.blueprint import Blueprint
from robustsnn.conversion.calibrate import calibrate
from robustsnn.conversion.convert import ConversionReport, convert, reestimate, renew, spiking
from robustsnn.conversion.fold import bfloat16, folded
from robustsnn.conversion.trace import Layer, trace

__all__ = [
    "Blueprint",
    "ConversionReport",
    "Layer",
    "bfloat16",
    "calibrate",
    "convert",
    "folded",
    "reestimate",
    "renew",
    "spiking",
    "trace",
]
