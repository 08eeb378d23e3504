"""Leaving for other simulators (NIR) and runtimes (ONNX)."""

from robustsnn.deploy.export import FORMATS, export
from robustsnn.deploy.nir import remarks, to_nir
from robustsnn.deploy.onnx import exported, to_onnx
from robustsnn.deploy.targets import TARGETS

__all__ = ["FORMATS", "TARGETS", "export", "exported", "remarks", "to_nir", "to_onnx"]
