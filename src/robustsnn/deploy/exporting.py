"""From a checkpoint to the file of another simulator or runtime."""

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
"""Kinds of file by name: ``write(net, path, target, shape)`` returns in what the file differs from the network."""


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
        out: the file to write, whole or not at all.
        to: one of `FORMATS`.
        target: for NIR, one of `robustsnn.deploy.targets.TARGETS`.
        shape: of one image, ``(C, H, W)``; None takes it from the checkpoint.
        body: as for `robustsnn.checkpoint.load`.

    Returns:
        In what the file differs from the network, each as ``what: how``.

    Raises:
        ValueError: no checkpoint of a spiking network, an unknown format or target, or a network that the target cannot hold.
    """
    write = find("format", FORMATS, to)
    if to != "nir" and target != "generic":
        raise ValueError(f"a target such as {target!r} is for NIR files, which {to} is not: leave it out")
    shape = shape or _shape(checkpoint.read_header(path))
    if shape is None:
        body_too = "" if body is not None else ", and its body, as in --ann package.module:factory"
        raise ValueError(f"{path} does not say what images it takes: give their shape, as in --shape 3 32 32{body_too}")
    net = checkpoint.load(path, body)
    if not isinstance(net, SpikingNetwork):
        raise ValueError(f"{path} holds an ANN: export a spiking network, such as the run's snn.safetensors")
    return write(net, Path(out), target, shape)


def _shape(header: checkpoint.Header) -> tuple[int, ...] | None:
    """Channels, height and width of the images that a network was made of; None where its checkpoint does not say."""
    told, model = header.metrics.get("shape"), header.recipe.get("model", {})
    if isinstance(told, list) and len(told) == 3 and all(isinstance(size, int) and size > 0 for size in told):
        return tuple(told)
    return (int(model.get("channels", 3)), *[int(model.get("size", 32))] * 2) if "name" in model else None
