"""Leaving for runtimes: all T steps of a spiking network as one ONNX graph, images in, logits out."""

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
    """The network in eval mode by ``torch.export``: ``[N,C,H,W] -> [N,K]`` for any N, logits averaged over its T steps.

    Raises ValueError: a forward pass that torch.export cannot follow, or a shape ``(C, H, W)`` of images that do not fit.
    """
    fresh = baked(view(net).eval())
    assert isinstance(fresh, SpikingNetwork)
    parameter = next(fresh.parameters())
    images = torch.zeros(2, *shape, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.no_grad():
            fresh(images)
            return torch.export.export(fresh.firing(unrolled), (images,), dynamic_shapes=({0: Dim.DYNAMIC},))
    except Exception as error:  # whatever a foreign forward pass may raise when it is given no tensor
        raise ValueError(f"torch.export cannot follow this network with images of shape {shape}: {one_line(error)}") from None


def to_onnx(net: SpikingNetwork, shape: tuple[int, ...]) -> bytes:
    """The content of an ONNX file with input ``images`` and output ``logits``, weights inside. Raises ValueError: as
    `exported`; the packages that write ONNX are not there."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"ONNX files need the package {error.name}: pip install 'robustsnn[onnx]'") from None
    with _quiet():
        program: Any = torch.onnx.export(
            exported(net, shape), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    content = io.BytesIO()
    onnx.save(program.model_proto, content)
    return content.getvalue()


def export(net: SpikingNetwork, path: Path | str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Write the network as an ONNX file, whole or not at all, and return in what it differs from the network. Raises
    ValueError: as `to_onnx`; a file that cannot be written."""
    write_atomic(Path(path), to_onnx(net, shape))
    return ("rounding: the runtime may fold norms into weights and take sums in another order",)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings that optional operators are absent."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
