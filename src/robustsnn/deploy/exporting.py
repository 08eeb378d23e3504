"""Export of a checkpoint to the file format of another simulator or runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from robustsnn import checkpoint
from robustsnn.deploy import nir, onnx
from robustsnn.names import find
from robustsnn.spiking import SpikingNetwork

FORMATS: dict[str, Callable[[SpikingNetwork, Path, str, tuple[int, ...]], tuple[str, ...]]] = {
    "nir": nir.export,
    "onnx": lambda net, out, _, shape: onnx.export(net, out, shape),
}
"""File formats by name: ``write(net, path, target, shape)`` returns how the file differs from the network."""


def export(
    path: Path | str,
    out: Path | str,
    to: str = "nir",
    target: str = "generic",
    shape: tuple[int, ...] | None = None,
    body: nn.Module | None = None,
) -> tuple[str, ...]:
    """Write the spiking network of a checkpoint for another simulator.

    Arguments:
        path: a checkpoint.
        out: the file to write; it is replaced as a whole or not at all.
        to: one of `FORMATS`.
        target: for NIR, one of `robustsnn.deploy.targets.TARGETS`.
        shape: of one image, ``(C, H, W)``, or of frames, ``(T, C, H, W)``; None reads it from the checkpoint.
        body: as for `robustsnn.checkpoint.load`.

    Returns:
        Every difference between the file and the network, each as ``what: how``.

    Raises:
        ValueError: not a checkpoint of a spiking network, an unknown format or target, or a network it does not support.
    """
    write = find("format", FORMATS, to)
    if to != "nir" and target != "generic":
        raise ValueError(f"target {target!r} applies to NIR files only, not to {to}: leave it out")
    shape = shape or _shape(checkpoint.read_header(path))
    if shape is None:
        body_too = "" if body is not None else ", and its body, as in --ann package.module:factory"
        raise ValueError(f"{path} does not contain the shape of its images: give it, as in --shape 3 32 32{body_too}")
    net = checkpoint.load(path, body)
    if not isinstance(net, SpikingNetwork):
        raise ValueError(f"{path} holds an ANN: export a spiking network, such as the run's snn.safetensors")
    return write(net, Path(out), target, shape)


def _shape(header: checkpoint.Header) -> tuple[int, ...] | None:
    """Return channels, height and width of the network's images, after T for frames; None if the checkpoint has none."""
    told, model = header.metrics.get("shape"), header.recipe.get("model", {})
    if isinstance(told, list) and len(told) in (3, 4) and all(isinstance(size, int) and size > 0 for size in told):
        return tuple(told)
    return (int(model.get("channels", 3)), *[int(model.get("size", 32))] * 2) if "name" in model else None
