"""Tracing: any ANN becomes a body with one ``nn.ReLU`` module per activation, with a record of what was done to each layer."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.compute import rewire, view
from robustsnn.conversion.fold import followed
from robustsnn.conversion.layers import check_products, judge, owner
from robustsnn.models import QCFS

CHECKS: set[Any] = {
    torch._assert, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.getitem, getattr,
    len, "dim", "size",
}  # fmt: skip
"""Operations to drop if only an assertion reads them."""


@dataclass(frozen=True)
class Layer:
    """What became of a layer: ``place`` (module path), ``kind``, ``action``, and ``origin``, its place in the ANN."""

    place: str
    kind: str
    action: str
    origin: str = ""


def trace(ann: nn.Module, allow: Collection[str] = ()) -> tuple[nn.Module, tuple[Layer, ...]]:
    """Return a body over the tensors of ``ann`` with one ``nn.ReLU`` module per activation, `QCFS` included.

    If every activation already is an ``nn.ReLU`` module that is used once, the body is a view of ``ann``. Otherwise it is a
    ``torch.fx.GraphModule`` in which functional, method and reused activations (and functional dropout) are modules.
    Parameters and buffers keep their names in both cases.

    Arguments:
        ann: any module of ReLU, convolutions, linear layers, norms, average pools, additions, concatenations and reshapes.
        allow: ``{"max_pool"}`` allows max-pooling, which becomes a logical OR on spikes.

    Returns:
        The body, and what became of every layer in execution order.

    Raises:
        ValueError: the body cannot be traced, or a layer cannot be converted; the message names it and a remedy.
    """
    if unknown := {allow} - {"max_pool"} if isinstance(allow, str) else set(allow) - {"max_pool"}:
        raise ValueError(f"allow={sorted(unknown)}: only 'max_pool' can be allowed")
    ann = rectified(ann)
    modules = dict(ann.named_modules(remove_duplicate=False))
    evaluated = view(ann).eval()
    graph = followed(evaluated)
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    tree = view(ann)
    seen: set[str] = set()
    layers: list[Layer] = []
    graph.eliminate_dead_code(lambda node: node.op not in ("call_function", "call_method") or node.target not in CHECKS)
    check_products(graph, modules)
    changed = _read_in_place(graph, modules) | _call_norms(graph, tree)
    for node in list(graph.nodes):
        if node.op == "call_module":
            module, origin = modules[node.target], str(node.target)
            action, replacement = judge(node, module, allow)
            if replacement is not None:
                again = node.target in seen
                seen.add(node.target)
                action += ", a layer of their own for this use" if uses[node.target] > 1 else ""
                changed |= again
                _put(tree, node, replacement, None if again else node.target)
            layers.append(Layer(str(node.target), type(module).__name__, action, origin))
        elif node.op in ("call_function", "call_method"):
            action, replacement = judge(node, None, allow)
            if replacement is not None:
                changed = True
                _put(tree, node, replacement)
                layers.append(Layer(str(node.target), type(replacement).__name__, action))
    changed |= _drop_spare_names(tree, {str(node.target) for node in graph.nodes if node.op == "call_module"}, modules)
    if not any(layer.action.startswith("spiking") for layer in layers):
        raise ValueError(f"{type(ann).__name__} has no ReLU that could become a spiking neuron: use nn.ReLU activations")
    if not changed:
        return tree, tuple(layers)
    _hold_constants(graph, evaluated, tree)
    graph.lint()
    return module_of(tree, graph), tuple(layers)


def rectified(ann: nn.Module) -> nn.Module:
    """Return a view in which every `QCFS` is a ReLU."""
    return rewire(ann, lambda _, module: nn.ReLU().train(module.training) if isinstance(module, QCFS) else None)


def module_of(tree: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """Return a module that runs ``graph`` on the tree it was traced from, with unused modules and unsaved buffers."""
    traced = fx.GraphModule(tree, graph)
    for containers in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set", "training"):
        traced.__dict__[containers] = tree.__dict__[containers]
    kind: Any = type(traced)
    del kind.__call__  # fx's own prints a traceback on every error; use that of nn.Module
    kind.__deepcopy__ = _deepcopy  # fx's own drops what the graph does not call
    return traced


def _deepcopy(traced: fx.GraphModule, memo: dict[int, Any]) -> fx.GraphModule:
    copied: fx.GraphModule = object.__new__(type(traced))
    memo[id(traced)] = copied
    copied.__dict__.update(copy.deepcopy(traced.__dict__, memo))
    return copied


def _drop_spare_names(tree: nn.Module, called: set[str], modules: Mapping[str, nn.Module]) -> bool:
    """Keep only the names of an activation module that the graph calls; a module may have several."""
    used = {id(modules[name]) for name in called if name in modules}

    def place(name: str) -> tuple[int, str]:
        """Return the parent module and last name of a path; blocks may have several names, too."""
        parent, _, last = name.rpartition(".")
        return id(tree.get_submodule(parent)), last

    kept = {place(name) for name in called if name in modules}
    spare = [
        name
        for name, module in dict(tree.named_modules(remove_duplicate=False)).items()
        if isinstance(module, nn.ReLU) and place(name) not in kept and id(modules.get(name)) in used
    ]
    for name in spare:
        put_at(tree, name, nn.Identity())
    return bool(spare)


def _read_in_place(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> bool:
    """Let later readers of the input of an in-place activation read its output, since neurons return a new tensor."""
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


def _call_norms(graph: fx.Graph, tree: nn.Module) -> bool:
    """Replace batch norms that write out their forward pass (as in timm) by torch's own, which follow train/eval mode."""
    changed = False
    for node in list(graph.nodes):
        place = owner(node)
        if node.target is not F.batch_norm or not isinstance(norm := tree.get_submodule(place), _BatchNorm):
            continue
        norm.__class__ = next(kind for kind in type(norm).__mro__ if kind.__module__ == _BatchNorm.__module__)
        own = [tensor for tensor in node.all_input_nodes if tensor.op == "get_attr"]
        node.args = node.args[:1] or (node.kwargs["input"],)
        node.op, node.target, node.kwargs = "call_module", place, {}
        for tensor in own:
            if not tensor.users:
                graph.erase_node(tensor)
        changed = True
    return changed


def _hold_constants(graph: fx.Graph, traced: nn.Module, tree: nn.Module) -> None:
    """Store tensors that are neither parameter nor buffer, such as those made in the forward pass, as unsaved buffers."""
    for node in graph.nodes:
        parent, _, name = str(node.target).rpartition(".")
        if node.op == "get_attr" and name not in (own := tree.get_submodule(parent))._parameters | own._buffers:
            value = getattr(traced.get_submodule(parent), name)
            own.__dict__.pop(name, None)
            own.register_buffer(name, value, persistent=False)


def put_at(tree: nn.Module, place: str, module: nn.Module) -> None:
    """Put a module at a path, with the train/eval flag of its parent."""
    parent, _, name = place.rpartition(".")
    holder = tree.get_submodule(parent)
    holder._modules[name] = module.train(holder.training)


def _put(tree: nn.Module, node: fx.Node, module: nn.Module, place: str | None = None) -> None:
    """Let ``node`` call ``module`` at ``place``, or under a new name in or next to its owner."""
    if place is None:
        beside = f"{node.target}_" if node.op == "call_module" else f"{owner(node)}." if owner(node) else ""
        taken = {name for name, _ in tree.named_modules(remove_duplicate=False)}
        kind = type(module).__name__.lower()
        place = next(name for i in range(1, len(taken) + 2) if (name := f"{beside}{kind}_{i}") not in taken)
    put_at(tree, place, module)
    node.args = node.args[:1] or (node.kwargs["input"],)
    node.op, node.target, node.kwargs = "call_module", place, {}
