"""Spiking networks: neurons, the networks they make, and the ways a gradient gets through them."""

from robustsnn.spiking.adaptive import Adaptive
from robustsnn.spiking.foreign import ForeignNetwork, Library
from robustsnn.spiking.kernels import Firing, Through
from robustsnn.spiking.network import Neuron, Slot, SpikingNetwork
from robustsnn.spiking.neuron import Dynamics, lif, membrane
from robustsnn.spiking.paths import (
    FOREIGN,
    PATHS,
    Analog,
    Hybrid,
    Plain,
    PotentialDependent,
    Rate,
    RateApproximation,
    Scaled,
    Surrogate,
)
from robustsnn.spiking.surrogate import SURROGATES, Exponential, Rectangle, StraightThrough, Triangle

__all__ = [
    "FOREIGN",
    "PATHS",
    "SURROGATES",
    "Adaptive",
    "Analog",
    "Dynamics",
    "Exponential",
    "Firing",
    "ForeignNetwork",
    "Hybrid",
    "Library",
    "Neuron",
    "Plain",
    "PotentialDependent",
    "Rate",
    "RateApproximation",
    "Rectangle",
    "Scaled",
    "Slot",
    "SpikingNetwork",
    "StraightThrough",
    "Surrogate",
    "Through",
    "Triangle",
    "lif",
    "membrane",
]
