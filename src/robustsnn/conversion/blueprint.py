"""How to build the body of a spiking network from its ANN, stored in checkpoints so that loading does not trace.

A blueprint can only name functions, methods and layers that conversion knows. Nothing that it names is imported or run.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.compute import view
from robustsnn.conversion.operations import CALLS, DROPOUTS
from robustsnn.conversion.tracing import module_of, put_at, rectified
from robustsnn.spiking.dynamics import Dynamics
from robustsnn.spiking.layer import NeuronLayer
from robustsnn.spiking.network import Slot, SpikingNetwork
from robustsnn.spiking.signal import Signal

MADE: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (*DROPOUTS.modules, nn.Identity, nn.ReLU)}
NORMS = {kind.__name__: kind for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)}


FUNCTIONS: dict[str, Any] = {"getattr": getattr, "len": len} | {
    f"{short}.{name}": function
    for place, short in ((F, "F"), (operator, "operator"), (torch, "torch"))
    for name, function in vars(place).items()
    if any(function is kept for kept in CALLS)
}
"""Functions that conversion keeps, by name."""


@dataclass(frozen=True)
class Blueprint:
    """The differences between a body and its ANN, in values that JSON can hold.

    Arguments:
        slots: positions of the neurons in firing order.
        shapes: shapes of the neurons' trained tensors, by their name in the body.
        biases: linear layers with a bias, which conversion may have added.
        made: modules without tensors that a traced forward pass calls: kind and arguments.
        norms: kinds of batch norms in a traced forward pass.
        constants: tensors of a traced forward pass that are saved nowhere else.
        steps: steps of a traced forward pass; None if the body runs the ANN's own.
    """

    slots: list[dict[str, Any]]
    shapes: dict[str, list[int]]
    biases: list[str]
    made: dict[str, list[Any]]
    norms: dict[str, str]
    constants: dict[str, list[Any]]
    steps: list[dict[str, Any]] | None

    @staticmethod
    def of(net: SpikingNetwork) -> Blueprint:
        """Return the blueprint of a network. Raises ValueError if a step of its forward pass could not be loaded again."""
        body = net.body
        if net.filters is not None:
            raise ValueError("filters before a network are not saved: save it without them, and call net.filtered after load")
        shapes = {f"{n}.{key}": list(x.shape) for n, layer in net.neurons.items() for key, x in layer.tensors.items()}
        biases = [name for name, module in body.named_modules() if isinstance(module, nn.Linear) and module.bias is not None]
        slots = [vars(slot) for slot in net.slots]
        if not isinstance(body, fx.GraphModule):
            return Blueprint(slots, shapes, biases, {}, {}, {}, None)
        made: dict[str, list[Any]] = {}
        norms: dict[str, str] = {}
        constants: dict[str, list[Any]] = {}
        saved = body.state_dict()
        for node in body.graph.nodes:
            place = str(node.target)
            if node.op == "get_attr" and place not in saved:
                tensor = _attribute(body, place)
                constants[place] = [str(tensor.dtype).removeprefix("torch."), tensor.tolist()]
            module = body.get_submodule(place) if node.op == "call_module" else None
            if isinstance(module, nn.modules.dropout._DropoutNd):
                made[place] = [type(module).__name__, {"p": module.p}]
            if isinstance(module, _BatchNorm):
                norms[place] = next(kind.__name__ for kind in type(module).__mro__ if kind in NORMS.values())
        return Blueprint(slots, shapes, biases, made, norms, constants, [_written(node) for node in body.graph.nodes])

    def built(self, ann: nn.Module, dynamics: Dynamics, signal: Signal) -> SpikingNetwork:
        """Build the network over copies of the modules of ``ann``, with neuron tensors of the right shapes but no values.

        Raises ValueError if the ANN does not fit, or a step is not one that conversion writes.
        """
        body = view(rectified(ann))
        for name in self.biases:
            linear = body.get_submodule(name)
            if not isinstance(linear, nn.Linear):
                raise ValueError(f"{name!r} is not a linear layer")
            if linear._parameters["bias"] is None:
                linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
        slots = [Slot(**slot) for slot in self.slots]
        if self.steps is not None:
            for slot in slots:
                _put(body, slot.name, nn.ReLU())
            body = self._following(body, self.steps)
        net = SpikingNetwork(body, dynamics, signal, slots)
        for name, layer in net.neurons.items():
            for key, tensor in layer.tensors.items():
                tensor.data = tensor.data.new_zeros(self.shapes[f"{name}.{key}"])
        return net

    def _following(self, body: nn.Module, steps: list[dict[str, Any]]) -> nn.Module:
        for place, (kind, arguments) in self.made.items():
            _put(body, place, MADE[kind](**arguments))
        for place, kind in self.norms.items():
            norm = body.get_submodule(place)
            if not isinstance(norm, NORMS[kind]):
                raise ValueError(f"{place!r} is not a {kind}")
            norm.__class__ = NORMS[kind]
        for place, (dtype, values) in self.constants.items():
            parent, _, name = place.rpartition(".")
            holder = body.get_submodule(parent)
            holder.__dict__.pop(name, None)
            holder.register_buffer(name, torch.tensor(values, dtype=getattr(torch, dtype)), persistent=False)
        graph = fx.Graph()
        nodes: dict[str, fx.Node] = {}
        for step in steps:
            nodes[step["name"]] = _read(body, graph, step, nodes)
        graph.lint()
        return module_of(body, graph)


def unlike(net: nn.Module, ann: nn.Module) -> str:
    """Return the path of the first layer of ``net`` that ``ann``, or the spiking network made of it, lacks or has with other
    options; empty if there is none."""
    body, made = net, ann
    if isinstance(net, SpikingNetwork):
        body, made = net.body, Blueprint.of(net).built(ann, net.dynamics, net.signal).body
    called = {str(node.target) for node in body.graph.nodes} if isinstance(body, fx.GraphModule) else None
    mine, theirs = (
        {name: _kind(m) for name, m in each.named_modules() if not m._modules and (called is None or name in called)}
        for each in (body, made)
    )
    return next((name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)), "")


def _kind(layer: nn.Module) -> tuple[object, str]:
    """Return the class of a layer without tensors' values, and its options; batch norms have equivalent classes."""
    if isinstance(layer, _BatchNorm):
        return _BatchNorm, f"{layer.eps}"
    return type(layer), "" if isinstance(layer, NeuronLayer) else layer.extra_repr()


def _put(body: nn.Module, place: str, module: nn.Module) -> None:
    parent, _, name = place.rpartition(".")
    if not name.isidentifier() and name not in body.get_submodule(parent)._modules:
        raise ValueError(f"{place!r} is not a valid path for a layer")
    put_at(body, place, module)


def _attribute(body: nn.Module, place: str) -> Tensor:
    parent, _, name = place.rpartition(".")
    holder = body.get_submodule(parent)
    found = {**holder._parameters, **holder._buffers}.get(name)
    if found is None:
        raise ValueError(f"{place!r} is not a tensor of {type(body).__name__}")
    return found


def _written(node: fx.Node) -> dict[str, Any]:
    target: Any = node.target
    if node.op == "call_function":
        target = next((name for name, function in FUNCTIONS.items() if function is node.target), "")
        if not target:
            raise ValueError(f"operation {node.target} of this network could be saved but not loaded: move it into a module")
    args, kwargs = _encoded(node.args), _encoded(node.kwargs)
    return {"name": node.name, "op": node.op, "target": str(target), "args": args, "kwargs": kwargs}


def _read(body: nn.Module, graph: fx.Graph, step: Mapping[str, Any], nodes: Mapping[str, fx.Node]) -> fx.Node:
    """Add a step to the graph after checking every word in it, since fx generates source code from it."""
    op, target, args, kwargs = step["op"], step["target"], _decoded(step["args"], nodes), _decoded(step["kwargs"], nodes)
    known: bool = all(isinstance(key, str) and key.isidentifier() for key in kwargs) and isinstance(target, str)
    if op == "call_module":
        known &= any(target == name for name, _ in body.named_modules(remove_duplicate=False))
    elif op == "get_attr":
        known &= _attribute(body, target) is not None
    elif op == "call_method":
        known &= isinstance(target, str) and target in CALLS
    elif op == "call_function":
        known &= target in FUNCTIONS
        known &= target != "getattr" or (isinstance(args[1], str) and not args[1].startswith("_"))
        target = FUNCTIONS.get(target, target)
    else:
        known &= op in ("placeholder", "output") and str(target).isidentifier()
    if not known or not str(step["name"]).isidentifier():
        raise ValueError(f"step {str(step['name'])[:40]!r} ({op} {str(target)[:40]!r}) is not a step that conversion writes")
    return graph.create_node(op, target, args, kwargs, step["name"])


def _encoded(value: Any) -> Any:
    """Encode arguments of a step as JSON: anything but numbers and texts becomes a table with its kind."""
    match value:
        case fx.Node():
            return {"step": value.name}
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return {"tuple": [_encoded(each) for each in value]}
        case list():
            return [_encoded(each) for each in value]
        case dict():
            return {"table": {str(key): _encoded(each) for key, each in value.items()}}
        case slice():
            return {"slice": [_encoded(value.start), _encoded(value.stop), _encoded(value.step)]}
        case _ if value is Ellipsis:
            return {"ellipsis": None}
        case torch.dtype() | torch.memory_format():
            return {"torch": str(value).removeprefix("torch.")}
    raise ValueError(f"a forward pass that contains {str(value)[:60]!r} could be saved but not loaded: store it in a module")


def _decoded(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decoded(each, nodes) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    match kind:
        case "step":
            return nodes[held]
        case "tuple":
            return tuple(_decoded(each, nodes) for each in held)
        case "table":
            return {key: _decoded(each, nodes) for key, each in held.items()}
        case "slice":
            return slice(*(_decoded(each, nodes) for each in held))
        case "ellipsis":
            return ...
        case "torch":
            found = getattr(torch, str(held))
            if isinstance(found, torch.dtype | torch.memory_format):
                return found
    raise ValueError(f"an argument of kind {str(kind)[:40]!r} is not one that conversion writes")
