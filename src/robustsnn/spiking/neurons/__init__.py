"""Neuron models, one per file: frozen values that define the equations, the trained tensors and the NIR equivalent."""

from robustsnn.spiking.neurons.lif import LIF, PLIF, Reset
from robustsnn.spiking.neurons.multi_spike import MultiSpike
from robustsnn.spiking.neurons.neuron import Course, Derivative, Neuron, Relayed, Spike, Tensors
from robustsnn.spiking.neurons.ternary import Ternary

NEURONS: dict[str, type[Neuron]] = {"LIF": LIF, "PLIF": PLIF, "MultiSpike": MultiSpike, "Ternary": Ternary}
"""Neuron models by name, as recipes and checkpoints spell them."""

__all__ = [
    "LIF",
    "NEURONS",
    "PLIF",
    "Course",
    "Derivative",
    "MultiSpike",
    "Neuron",
    "Relayed",
    "Reset",
    "Spike",
    "Tensors",
    "Ternary",
]
