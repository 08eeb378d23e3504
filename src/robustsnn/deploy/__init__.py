"""Import networks from other libraries and export them to simulators, runtimes and attack libraries."""

from robustsnn.deploy.exporting import FORMATS, export
from robustsnn.deploy.hub import push_to_hub
from robustsnn.deploy.interop import from_neurons, from_snntorch, from_spikingjelly
from robustsnn.deploy.nir import remarks, to_nir
from robustsnn.deploy.onnx import exported, to_onnx
from robustsnn.deploy.targets import TARGETS

__all__ = [
    "FORMATS",
    "TARGETS",
    "export",
    "exported",
    "from_neurons",
    "from_snntorch",
    "from_spikingjelly",
    "push_to_hub",
    "remarks",
    "to_nir",
    "to_onnx",
]
