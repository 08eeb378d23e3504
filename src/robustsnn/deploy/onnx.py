"""Export to runtimes: all T steps of a spiking network as one ONNX graph from images to logits."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from robustsnn.compute import view
from robustsnn.files import write_atomic
from robustsnn.models import baked
from robustsnn.names import one_line
from robustsnn.spiking import SpikingNetwork, unrolled


def exported(net: SpikingNetwork, shape: tuple[int, ...]) -> ExportedProgram:
    """Export the network in eval mode by ``torch.export``: ``[N,C,H,W] -> [N,K]`` for any N, logits averaged over T steps.

    Raises ValueError if torch.export cannot trace the forward pass, or images of shape ``(C, H, W)`` do not fit.
    """
    fresh = baked(view(net).eval())
    assert isinstance(fresh, SpikingNetwork)
    parameter = next(fresh.parameters())
    images = torch.zeros(2, *shape, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.no_grad():
            fresh(images)
            return torch.export.export(fresh.firing(unrolled), (images,), dynamic_shapes=({0: Dim.DYNAMIC},))
    except Exception as error:  # foreign forward passes may raise anything when traced
        raise ValueError(f"torch.export cannot trace this network with images of shape {shape}: {one_line(error)}") from None


def to_onnx(net: SpikingNetwork, shape: tuple[int, ...]) -> bytes:
    """Return an ONNX file with input ``images``, output ``logits`` and the weights. Raises ValueError as `exported` does, or
    if ONNX packages are missing."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"ONNX files need the package {error.name}: run pip install 'robustsnn[onnx]'") from None
    with _quiet():
        program: Any = torch.onnx.export(
            exported(net, shape), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    content = io.BytesIO()
    onnx.save(program.model_proto, content)
    return content.getvalue()


def export(net: SpikingNetwork, path: Path | str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Write the network as an ONNX file, as a whole or not at all, and return the differences. Raises ValueError as `to_onnx`
    does, or if the file cannot be written."""
    write_atomic(Path(path), to_onnx(net, shape))
    return ("rounding: the runtime may fold norms into weights and sum in another order",)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's warnings about missing optional operators."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
