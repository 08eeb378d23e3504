"""From any ANN to a body with one ``nn.ReLU`` module per activation, and an account of what was done with every layer."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from robustsnn.models import QCFS, Normalize
from robustsnn.spiking.rewire import rewire

KEPT_MODULES: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity, nn.Flatten, nn.Unflatten,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d,
    nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, Normalize,
)  # fmt: skip
MAX_POOLS: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
RELU_FUNCTIONS: set[Callable[..., Any]] = {F.relu, F.relu_, torch.relu, torch.relu_}
RELU_METHODS = {"relu", "relu_"}
KEPT_FUNCTIONS: set[Callable[..., Any]] = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv,
    operator.floordiv, operator.getitem, operator.neg, getattr, torch.add, torch.sub, torch.mul, torch.div,
    torch.cat, torch.concat, torch.concatenate, torch.stack, torch.chunk, torch.split, torch.flatten, torch.reshape,
    torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.mean, torch.sum, torch.matmul,
    F.conv1d, F.conv2d, F.conv3d, F.linear, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.pad, F.interpolate, F.pixel_shuffle,
}  # fmt: skip
KEPT_METHODS = {
    "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "flatten", "view", "reshape", "permute", "transpose",
    "contiguous", "squeeze", "unsqueeze", "mean", "sum", "size", "dim", "chunk", "split", "expand", "to", "float", "type_as",
    "expand_as", "view_as",
}  # fmt: skip
DROPOUTS: dict[Callable[..., Any], type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
}
MAX_FUNCTIONS = {F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, torch.max_pool2d}


@dataclass(frozen=True)
class Layer:
    """What became of one layer: ``place`` (module path), ``kind`` and ``action``."""

    place: str
    kind: str
    action: str


def trace(ann: nn.Module, allow: Collection[str] = ()) -> tuple[nn.Module, tuple[Layer, ...]]:
    """A body over the tensors of ``ann`` with one ``nn.ReLU`` module per activation (also in the place of a `QCFS`).

    Where every activation of ``ann`` already is an ``nn.ReLU`` module used once, the body is a view of ``ann`` itself;
    otherwise it is a ``torch.fx.GraphModule`` in which functional, method and reused activations (and functional dropout)
    have become modules. Parameters and buffers keep their names either way.

    Arguments:
        ann: any module of ReLU, convolutions, linears, norms, average pools, additions, concatenations and reshapes.
        allow: ``{"max_pool"}`` admits max-pooling, which on spikes becomes a logical or.

    Returns:
        The body, and the account of every layer in the order of execution.

    Raises:
        ValueError: the forward pass cannot be followed, or a layer cannot be converted; the line names it and the remedy.
    """
    if unknown := set(allow) - {"max_pool"}:
        raise ValueError(f"allow={sorted(unknown)}: only 'max_pool' can be allowed")
    ann = rectified(ann)
    modules = dict(ann.named_modules(remove_duplicate=False))
    evaluated = rewire(ann, lambda _, __: None).eval()
    tracer = _Tracer()
    try:
        graph = tracer.trace(evaluated)
    except Exception as error:
        raise ValueError(
            f"cannot follow the forward pass of {type(ann).__name__}: {_one_line(error)}; write it without branches or "
            "loops that depend on the data"
        ) from error
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    tree = rewire(ann, lambda _, __: None)
    seen: set[str] = set()
    layers: list[Layer] = []
    changed = _read_in_place(graph, modules)
    for node in list(graph.nodes):
        if node.op == "call_module":
            module = modules[node.target]
            action = _judge_module(node.target, module, allow)
            if isinstance(module, nn.ReLU):
                again = node.target in seen
                seen.add(node.target)
                action = "spiking neurons" + (", a layer of their own for this use" if uses[node.target] > 1 else "")
                changed |= again
                _put(tree, node, nn.ReLU(), None if again else node.target)
            layers.append(Layer(str(node.target), type(module).__name__, action))
        elif node.op in ("call_function", "call_method"):
            layer, replacement = _judge_function(node, allow)
            if replacement is not None:
                changed = True
                _put(tree, node, replacement)
                layers.append(Layer(str(node.target), type(replacement).__name__, layer))
    changed |= _drop_spare_names(tree, {str(node.target) for node in graph.nodes if node.op == "call_module"}, modules)
    if not any(layer.action.startswith("spiking") for layer in layers):
        raise ValueError(f"{type(ann).__name__} has no ReLU: there is nothing that could become a spiking neuron")
    if not changed:
        return tree, tuple(layers)
    graph.lint()
    return _module(tree, graph), tuple(layers)


def rectified(ann: nn.Module) -> nn.Module:
    """A view in which every `QCFS` is the ReLU that it rounds."""
    return rewire(ann, lambda _, module: nn.ReLU().train(module.training) if isinstance(module, QCFS) else None)


def _module(tree: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """A module that runs ``graph`` on the very tree it was traced from, spare parts and unsaved buffers included."""
    traced = fx.GraphModule(tree, graph)
    for containers in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set", "training"):
        traced.__dict__[containers] = tree.__dict__[containers]
    kind: Any = type(traced)
    del kind.__call__  # fx's own prints a traceback on every error; this falls back to that of nn.Module
    kind.__deepcopy__ = _deepcopy  # fx's own forgets what the graph does not call
    return traced


def _deepcopy(traced: fx.GraphModule, memo: dict[int, Any]) -> fx.GraphModule:
    copied: fx.GraphModule = object.__new__(type(traced))
    memo[id(traced)] = copied
    copied.__dict__.update(copy.deepcopy(traced.__dict__, memo))
    return copied


def _drop_spare_names(tree: nn.Module, called: set[str], modules: Mapping[str, nn.Module]) -> bool:
    """One activation module may have several names; keep those that the graph calls."""
    used = {id(modules[name]) for name in called if name in modules}
    spare = [
        name
        for name, module in dict(tree.named_modules(remove_duplicate=False)).items()
        if isinstance(module, nn.ReLU) and name not in called and id(modules.get(name)) in used
    ]
    for name in spare:
        parent, _, child = name.rpartition(".")
        tree.get_submodule(parent)._modules[child] = nn.Identity().train(tree.training)
    return bool(spare)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Normalize) or super().is_leaf_module(m, module_qualified_name)


def _read_in_place(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> bool:
    """Neurons give a new tensor, so whoever reads the input of an in-place activation later must read its output."""
    changed = False
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        in_place = (
            getattr(module, "inplace", False) or node.target in ("relu_", F.relu_, torch.relu_) or node.kwargs.get("inplace")
        )
        for source in node.all_input_nodes if in_place else ():
            for reader in [user for user in source.users if order[user] > order[node]]:
                reader.replace_input_with(source, node)
                changed = True
    return changed


def _judge_module(place: Any, module: nn.Module, allow: Collection[str]) -> str:
    if isinstance(module, nn.ReLU):
        return "spiking neurons"
    if isinstance(module, MAX_POOLS):
        _check_max_pool(f"layer {place!r} ({type(module).__name__})", allow)
        return "kept: max-pooling of spikes is their logical or"
    if isinstance(module, KEPT_MODULES):
        return "kept"
    raise ValueError(
        f"layer {place!r} ({type(module).__name__}) cannot be converted: a spiking neuron stands for ReLU only; "
        "replace it by nn.ReLU (or, if it is linear, by convolution, linear, norm or average pool) and train again"
    )


def _judge_function(node: fx.Node, allow: Collection[str]) -> tuple[str, nn.Module | None]:
    target: Any = node.target
    if target in RELU_METHODS if node.op == "call_method" else target in RELU_FUNCTIONS:
        return "spiking neurons, made a module from a functional activation", nn.ReLU()
    if node.op == "call_function" and target in DROPOUTS:
        arguments = dict(zip(("p",), node.args[1:2], strict=False)) | {k: v for k, v in node.kwargs.items() if k == "p"}
        return "kept: made a module from functional dropout", DROPOUTS[target](**arguments)
    if node.op == "call_function" and target in MAX_FUNCTIONS:
        _check_max_pool(f"{_name(target)} in {_owner(node) or 'the network'}", allow)
    elif not (target in KEPT_METHODS if node.op == "call_method" else target in KEPT_FUNCTIONS):
        raise ValueError(
            f"operation {_name(target)} in module {_owner(node)!r} cannot be converted: a spiking network is made of ReLU, "
            "convolutions, linears, norms, average pools, additions, concatenations and reshapes; express it by those"
        )
    return "kept", None


def _check_max_pool(what: str, allow: Collection[str]) -> None:
    if "max_pool" not in allow:
        raise ValueError(
            f"{what} is a max-pool, which loses the rate of spikes: use an average pool, or pass allow={{'max_pool'}} to "
            "keep it (the logical or of the spikes)"
        )


def _put(tree: nn.Module, node: fx.Node, module: nn.Module, place: str | None = None) -> None:
    """Let ``node`` call ``module`` at ``place``, or under a fresh name in or beside its owner."""
    if place is None:
        beside = f"{node.target}_" if node.op == "call_module" else f"{_owner(node)}." if _owner(node) else ""
        taken = {name for name, _ in tree.named_modules(remove_duplicate=False)}
        kind = type(module).__name__.lower()
        place = next(name for i in range(1, len(taken) + 2) if (name := f"{beside}{kind}_{i}") not in taken)
    parent, _, name = place.rpartition(".")
    owner = tree.get_submodule(parent)
    owner._modules[name] = module.train(owner.training)
    node.args = node.args[:1] or (node.kwargs["input"],)
    node.op, node.target, node.kwargs = "call_module", place, {}


def _owner(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
