"""Spiking networks: neurons, networks built from them, and gradient paths through them."""

from robustsnn.spiking.adaptive import Adaptive, PotentialDependent
from robustsnn.spiking.dynamics import Dynamics, unrolled, walk
from robustsnn.spiking.foreign import ForeignNetwork, Library
from robustsnn.spiking.kernels import Firing, Through
from robustsnn.spiking.layer import NeuronLayer
from robustsnn.spiking.network import Slot, SpikingNetwork
from robustsnn.spiking.neurons import LIF, NEURONS, PLIF, MultiSpike, Neuron, Ternary
from robustsnn.spiking.paths import PATHS, Analog, Hybrid, Plain, Rate, RateApproximation, Scaled, Surrogate
from robustsnn.spiking.signal import SIGNALS, Constant, Frames, Signal
from robustsnn.spiking.spiking import Spiking
from robustsnn.spiking.surrogate import SURROGATES, Exponential, Rectangle, StraightThrough, Triangle

__all__ = [
    "LIF",
    "NEURONS",
    "PATHS",
    "PLIF",
    "SIGNALS",
    "SURROGATES",
    "Adaptive",
    "Analog",
    "Constant",
    "Dynamics",
    "Exponential",
    "Firing",
    "ForeignNetwork",
    "Frames",
    "Hybrid",
    "Library",
    "MultiSpike",
    "Neuron",
    "NeuronLayer",
    "Plain",
    "PotentialDependent",
    "Rate",
    "RateApproximation",
    "Rectangle",
    "Scaled",
    "Signal",
    "Slot",
    "Spiking",
    "SpikingNetwork",
    "StraightThrough",
    "Surrogate",
    "Ternary",
    "Through",
    "Triangle",
    "unrolled",
    "walk",
]
