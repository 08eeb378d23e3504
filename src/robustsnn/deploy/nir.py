"""Export to other simulators: a spiking network as a graph of NIR, the Neuromorphic Intermediate Representation."""

from __future__ import annotations

import io
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustsnn.deploy.follow import follow
from robustsnn.deploy.layers import Array, Channelwise, Conv, Dense, End, Fire, Flat, Layer, Layers, Pool, Shape
from robustsnn.deploy.targets import DT, TARGETS, Target, fit, lowered
from robustsnn.files import write_atomic
from robustsnn.names import find
from robustsnn.spiking import SpikingNetwork

if TYPE_CHECKING:
    import nir


def to_nir(net: SpikingNetwork, shape: Shape, target: str = "generic") -> nir.NIRGraph:
    """Convert the network to a NIR graph that the target simulator runs as intended.

    Nodes are named by module path with ``_`` for ``.``. The graph takes the image, or a frame, at each of T steps and returns
    the logits of each step; their mean over time is the network's output. Its ``metadata`` holds ``robustsnn`` (the version),
    ``target``, ``timesteps``, ``dt`` (seconds), ``reset``, ``coding``, ``readout``, ``fires`` and ``remarks``.

    Arguments:
        net: a network in any mode; it is converted as in eval mode and not changed.
        shape: of one input, ``(C, H, W)``, or ``(T, C, H, W)`` for `Frames`; pixels are in ``[0, 1]``.
        target: one of `TARGETS`.

    Raises:
        ValueError: the target is unknown or does not support a layer, a reset or a leak of the network.

    Source: Pedersen et al. 2024, https://doi.org/10.1038/s41467-024-52259-9.
    """
    nir, profile = _nir(), find("target", TARGETS, target)
    neuron = next(layer.dynamics.neuron.relayed(layer.tensors) for layer in net.neurons.values())
    if neuron.start:
        raise ValueError(f"potentials start at {neuron.start:g} thresholds, but in NIR at 0: run with --neurons.start 0")
    if neuron.reset not in profile.resets:
        raise ValueError(
            f"{profile.label} has no reset {neuron.reset!r} in NIR, only {', '.join(profile.resets)}: finetune with that "
            "reset, or export for another target"
        )
    if net.dynamics.synchronous:
        raise ValueError(
            "simulators cannot run a network with synchronous=True: finetune and export with Dynamics(synchronous=False)"
        )
    layers, notes = fit(follow(net, shape), profile)
    if neuron.reset == "subtract" and target == "generic":
        notes += ("reset: NIR sets potentials to v_reset; the reader must subtract the threshold instead",)
    facts: dict[str, Any] = {
        "robustsnn": metadata.version("robustsnn"),
        "target": target,
        "timesteps": net.dynamics.timesteps,
        "dt": DT,
        "reset": neuron.reset,
        "coding": net.signal.coding,
        "readout": "mean of the output over the time steps",
        "fires": "v > v_threshold" if profile.above else "v >= v_threshold",
        "remarks": "\n".join(notes),
    }
    nodes = {name: _node(nir, name, layer, layers, profile) for name, layer in layers.items()}
    edges = [(source, name) for name, layer in layers.items() for source in layer.inputs]
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=facts)


def remarks(graph: nir.NIRGraph) -> tuple[str, ...]:
    """Return every difference between a graph of `to_nir` and the network, each as ``what: how``."""
    return tuple(str(graph.metadata["remarks"]).splitlines())


def export(net: SpikingNetwork, path: Path | str, target: str, shape: Shape) -> tuple[str, ...]:
    """Write the network as a NIR file, as a whole or not at all, and return the `remarks`. Raises ValueError as `to_nir` does,
    or if the file cannot be written."""
    graph, content = to_nir(net, shape, target), io.BytesIO()
    _nir().write(content, graph)
    write_atomic(Path(path), content.getvalue())
    return remarks(graph)


def _nir() -> Any:
    try:
        import nir
    except ImportError:
        raise ValueError("NIR files need the package nir: run pip install 'robustsnn[nir]'") from None
    return nir


def _node(nir: Any, name: str, layer: Layer, layers: Layers, target: Target) -> Any:
    what, gives = layer.what, np.array(layer.gives)
    takes = layers[layer.inputs[0]].gives if layer.inputs else layer.gives
    match what:
        case End():
            return nir.Output({"output": gives}) if layer.inputs else nir.Input({"input": gives})
        case Conv():
            return _convolution(nir, what, takes)
        case Dense():
            return nir.Affine(weight=what.weight, bias=what.bias)
        case Channelwise() if target.scale and not what.bias.any():
            return nir.Scale(_full(what.scale, layer.gives))
        case Channelwise() if len(takes) == 1:
            return nir.Affine(weight=np.diag(what.scale), bias=what.bias)
        case Channelwise():
            once = (1,) * len(takes[1:])
            weight = np.diag(what.scale).reshape(len(what.scale), -1, *once)
            return _convolution(nir, Conv(weight, what.bias, once, (0,) * len(once), once), takes)
        case Pool():
            node = nir.SumPool2d if what.sums else nir.AvgPool2d
            return node(np.array(what.kernel), np.array(what.stride), np.array(what.padding))
        case Flat():  # negative axes hold with and without a batch
            return nir.Flatten({"input": np.array(takes)}, start_dim=-len(takes), end_dim=-1)
        case Fire():
            return _neurons(nir, what, layer.gives, target)


def _convolution(nir: Any, what: Conv, takes: Shape) -> Any:
    options = what.stride, what.padding, what.dilation
    if len(takes) == 2:
        return nir.Conv1d(takes[1], what.weight, *(value for (value,) in options), groups=1, bias=what.bias)
    return nir.Conv2d(takes[1:], what.weight, *options, groups=1, bias=what.bias)


def _neurons(nir: Any, fire: Fire, shape: Shape, target: Target) -> Any:
    read = target.neurons(fire)
    threshold = _full(lowered(read.threshold) if target.above else read.threshold, shape)
    nothing, r = np.zeros_like(threshold), np.full_like(threshold, read.r)
    if read.tau is None:
        return nir.IF(r=r, v_threshold=threshold, v_reset=nothing)
    tau = np.full_like(threshold, read.tau)
    return nir.LIF(tau=tau, r=r, v_leak=nothing, v_threshold=threshold, v_reset=nothing.copy())


def _full(values: Array, shape: Shape) -> Array:
    """Broadcast values, or one per channel, to every neuron of a shape."""
    if values.ndim == 1 and len(shape) > 1 and values.size > 1:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.ascontiguousarray(np.broadcast_to(values, shape))
