"""The layers of a spiking network, traced through its forward pass by torch.fx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from robustsnn.compute import copied
from robustsnn.conversion import folded
from robustsnn.conversion.fold import followed
from robustsnn.deploy.layers import Array, Channelwise, Conv, Dense, End, Fire, Flat, Kind, Layer, Pool, Shape
from robustsnn.models import MeanOverTime, Normalize
from robustsnn.names import one_line
from robustsnn.spiking import NeuronLayer, SpikingNetwork

ADDED = {"add": 1.0, "add_": 1.0, "iadd": 1.0, "sub": -1.0, "sub_": -1.0, "isub": -1.0}
MULTIPLIED = {"mul", "mul_", "imul", "truediv", "div", "div_", "itruediv"}
IN_PLACE = {"iadd", "add_", "isub", "sub_", "imul", "mul_", "div_", "itruediv"}
RESHAPED = {"flatten", "view", "reshape", "squeeze"}
SAME = {"contiguous", "to", "float", "type_as", "dropout", "dropout1d", "dropout2d", "dropout3d"}
POOLED: dict[str, Callable[..., nn.Module]] = {"avg_pool2d": nn.AvgPool2d, "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d}
DROPPED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)

Terms = dict[str, float]
"""A weighted sum of layer outputs."""


def follow(net: SpikingNetwork, shape: Shape) -> dict[str, Layer]:
    """Return the layers of a network in eval mode for images ``(C, H, W)``, with batch norms folded and dropout removed.

    Names are module paths with ``_`` for ``.``, from ``"input"`` to ``"output"``; a sum becomes several inputs of one layer.

    Raises:
        ValueError: other simulators do not support an operation (the message names its module), or the shape does not fit.
    """
    if net.filters is not None:
        raise ValueError("filters cannot be exported: export the network without them, and filter the events before it")
    view = folded(copied(net).cpu())
    assert isinstance(view, SpikingNetwork)
    graph = followed(view.body)
    image = view.begun(torch.zeros(1, *shape, dtype=next(view.body.parameters()).dtype))
    steps = _Follow(view.body, graph, image.numpy().dtype)
    with torch.no_grad():
        try:
            steps.run(image)
        except RuntimeError as error:
            raise ValueError(
                f"images of shape {shape} do not fit this network ({one_line(error)}): give its training shape (C, H, W)"
            ) from None
    return steps.layers


class _Follow(fx.Interpreter):
    def __init__(self, body: nn.Module, graph: fx.Graph, dtype: Any) -> None:
        super().__init__(body, graph=graph)
        self.dtype = dtype  # numpy dtype of the weights
        self.extra_traceback = False
        self.layers: dict[str, Layer] = {}
        self.sums: dict[fx.Node, Terms] = {}
        self.scaled: dict[tuple[str, float], str] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder":
            self.layers["input"] = Layer(End(), (), tuple(result.shape[1:]))
            self.sums[n] = {"input": 1.0}
        elif n.op == "output":
            terms = self.sums.get(n.args[0]) if isinstance(n.args[0], fx.Node) else None
            if terms is None or result.dim() != 2:
                raise ValueError("the network returns something other than logits [N,K]: export one that returns only these")
            self._add("output", End(), terms, tuple(result.shape[1:]))
        elif isinstance(result, Tensor) and any(source in self.sums for source in n.all_input_nodes):
            shape = tuple(result.shape[1:])
            self.sums[n] = self._module(n, shape) if n.op == "call_module" else self._operation(n, shape)
            if _named(n) in IN_PLACE:
                self.sums[n.all_input_nodes[0]] = self.sums[n]  # later readers see the result of an in-place operation
        return result

    def _module(self, n: fx.Node, gives: Shape) -> Terms:
        module = self.fetch_attr(str(n.target))
        (source,) = n.all_input_nodes
        terms = self.sums[source]
        if isinstance(module, DROPPED):
            return terms
        takes = self.layers[next(iter(terms))].gives
        if isinstance(module, nn.Flatten | MeanOverTime) and takes == gives:
            return terms
        return self._add(n.name, layer_of(str(n.target), module, takes, gives), terms, gives)

    def _operation(self, n: fx.Node, gives: Shape) -> Terms:
        name, tracked = _named(n), [a for a in n.args if isinstance(a, fx.Node) and a in self.sums]
        first = self.sums[tracked[0]] if tracked else {}
        takes = self.layers[next(iter(first))].gives if first else ()
        if name in SAME or (name in RESHAPED and takes == gives):
            return first
        if name in ADDED and len(tracked) == 2 and not n.kwargs:
            total = dict(first)
            for layer, weight in self.sums[tracked[1]].items():
                total[layer] = total.get(layer, 0.0) + ADDED[name] * weight
            return total
        if name == "neg":
            return {layer: -weight for layer, weight in first.items()}
        if name in MULTIPLIED and len(tracked) == 1 and not n.kwargs:
            factor = self._number(n, divides="div" in name)
            if factor is not None:
                return {layer: weight * factor for layer, weight in first.items()}
        if name in RESHAPED and gives == (int(np.prod(takes)),):
            return self._add(n.name, Flat(), first, gives)
        if name in POOLED and n.args[0] is tracked[0]:
            arguments, options = self.fetch_args_kwargs_from_env(n)
            return self._add(n.name, layer_of(n.name, POOLED[name](*arguments[1:], **options), takes, gives), first, gives)
        if name == "mean" and len(takes) == 3 and _axes(n) == {2, 3}:
            pooled = self._add(n.name, Pool((takes[1], takes[2]), (takes[1], takes[2]), (0, 0)), first, (takes[0], 1, 1))
            return pooled if len(gives) == 3 else self._add(f"{n.name}_flat", Flat(), pooled, gives)
        raise ValueError(
            f"operation {name} ({n.name}) cannot be exported: use only what other simulators support, which is sums of "
            "branches, products with one number, flattening and average pools"
        )

    def _number(self, n: fx.Node, divides: bool) -> float | None:
        """Return the number that an operation multiplies by; None if there is no single number."""
        if divides and n.args[0] not in self.sums:
            return None
        (other,) = (self.map_nodes_to_values((a,), n)[0] for a in n.args if a not in self.sums)  # type: ignore[index]
        if not isinstance(other, int | float | Tensor) or torch.as_tensor(other).numel() != 1:
            return None
        return 1 / float(other) if divides else float(other)

    def _add(self, name: str, what: Kind, terms: Terms, gives: Shape) -> Terms:
        inputs = tuple(self._times(layer, weight) for layer, weight in terms.items())
        self.layers[name] = Layer(what, inputs, gives)
        return {name: 1.0}

    def _times(self, layer: str, weight: float) -> str:
        """Return the name of a layer that multiplies another layer's output by ``weight``."""
        if weight == 1:
            return layer
        if (layer, weight) not in self.scaled:
            name = f"{layer}_times_{sum(other == layer for other, _ in self.scaled)}"
            gives = self.layers[layer].gives
            what = Channelwise(np.full(gives[0], weight, self.dtype), np.zeros(gives[0], self.dtype))
            self.layers[name] = Layer(what, (layer,), gives)
            self.scaled[layer, weight] = name
        return self.scaled[layer, weight]


def _axes(n: fx.Node) -> set[int]:
    """Return the axes of ``[N,C,H,W]`` that a mean reduces."""
    given: Any = n.kwargs.get("dim", n.args[1] if len(n.args) > 1 else ())
    return {axis % 4 for axis in ((given,) if isinstance(given, int) else given or ())}


def _named(n: fx.Node) -> str:
    return n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))


def layer_of(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    """Convert a module to a layer with these shapes, without the batch. Raises ValueError if the module is not supported."""
    match module:
        case Normalize():
            mean, std = array(module.mean).ravel(), array(module.std).ravel()
            return Channelwise(1 / std, -mean / std)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            if module.running_mean is None or module.running_var is None:
                raise ValueError(f"layer {path!r} normalises by batch statistics: use track_running_stats=True")
            scale = 1 / torch.sqrt(module.running_var + module.eps)
            if module.weight is not None:
                scale = scale * module.weight
            return Channelwise(array(scale), array((0 if module.bias is None else module.bias) - module.running_mean * scale))
        case nn.Conv1d() | nn.Conv2d():
            return _conv(path, module)
        case nn.Linear():
            if len(takes) != 1:
                raise ValueError(f"layer {path!r} maps only the last axis of {takes}: flatten its input")
            return Dense(array(module.weight), _bias(module))
        case nn.AdaptiveAvgPool2d():
            if takes[1] % gives[1] or takes[2] % gives[2]:
                raise ValueError(f"pool {path!r} has windows of different sizes, {takes} to {gives}: let it divide evenly")
            kernel = takes[1] // gives[1], takes[2] // gives[2]
            return Pool(kernel, kernel, (0, 0))
        case nn.AvgPool2d():
            uneven = _pair(module.padding) != (0, 0) and not module.count_include_pad
            if module.ceil_mode or module.divisor_override or uneven:
                raise ValueError(f"pool {path!r} divides by another number at the border: use the default options")
            return Pool(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding))
        case nn.Flatten():
            if len(gives) != 1:
                raise ValueError(f"layer {path!r} flattens {takes} to {gives}: flatten all axes to one")
            return Flat()
        case NeuronLayer():
            return Fire(array(module.threshold), module.dynamics.neuron.relayed(module.tensors).leak)
    raise ValueError(
        f"layer {path!r} ({type(module).__name__}) cannot be exported: use only what other simulators support, which is "
        "1d and 2d convolutions, linear layers, batch norms after them, 2d average pools, and neurons"
    )


def array(tensor: Tensor) -> Array:
    """Copy a tensor to a numpy array."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _each(value: Any, axes: int) -> Shape:
    """Return a layer's option for each of its axes."""
    return (value,) * axes if isinstance(value, int) else tuple(int(part) for part in value)


def _pair(value: Any) -> tuple[int, int]:
    height, width = _each(value, 2)
    return height, width


def _bias(module: nn.Conv1d | nn.Conv2d | nn.Linear) -> Array:
    return array(module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias)


def _conv(path: str, module: nn.Conv1d | nn.Conv2d) -> Conv:
    weight, groups = array(module.weight), module.groups
    kernel, axes = weight.shape[2:], weight.ndim - 2
    if module.padding_mode != "zeros" or len(set(kernel)) > 1:
        raise ValueError(f"layer {path!r} cannot be expressed in NIR: use square kernels and zero padding")
    padding = module.padding
    if isinstance(padding, str):
        reach = [dilation * (kernel[0] - 1) for dilation in _each(module.dilation, axes)]
        if padding == "same" and any(r % 2 for r in reach):
            raise ValueError(f"layer {path!r} pads unevenly: give its padding as numbers")
        padding = tuple(r // 2 for r in reach) if padding == "same" else (0,) * axes
    dense = np.zeros((weight.shape[0], weight.shape[1] * groups, *kernel), weight.dtype)
    for group in range(groups):  # other simulators do not support groups
        outs, ins = (slice(group * n // groups, (group + 1) * n // groups) for n in dense.shape[:2])
        dense[outs, ins] = weight[outs]
    return Conv(dense, _bias(module), _each(module.stride, axes), _each(padding, axes), _each(module.dilation, axes))
