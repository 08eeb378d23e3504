"""Spiking networks: neurons, the networks they make, and the ways a gradient gets through them."""

from robustsnn.spiking.network import Neuron, Slot, SpikingNetwork
from robustsnn.spiking.neuron import Dynamics, lif, membrane
from robustsnn.spiking.paths import Analog, Plain, Rate, Surrogate
from robustsnn.spiking.rewire import rewire, with_tensors
from robustsnn.spiking.surrogate import SURROGATES, Exponential, Rectangle, StraightThrough, Triangle

__all__ = [
    "SURROGATES",
    "Analog",
    "Dynamics",
    "Exponential",
    "Neuron",
    "Plain",
    "Rate",
    "Rectangle",
    "Slot",
    "SpikingNetwork",
    "StraightThrough",
    "Surrogate",
    "Triangle",
    "lif",
    "membrane",
    "rewire",
    "with_tensors",
]
