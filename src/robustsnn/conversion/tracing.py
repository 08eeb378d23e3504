"""From any ANN to a body with one ``nn.ReLU`` module per activation, and an account of what was done with every layer."""

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
"""What is no part of the computation where only an assertion reads it."""


@dataclass(frozen=True)
class Layer:
    """What became of one layer: ``place`` (module path), ``kind`` and ``action``; ``origin`` is its place in the ANN."""

    place: str
    kind: str
    action: str
    origin: str = ""


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
        raise ValueError(f"{type(ann).__name__} has no ReLU: there is nothing that could become a spiking neuron")
    if not changed:
        return tree, tuple(layers)
    _hold_constants(graph, evaluated, tree)
    graph.lint()
    return module_of(tree, graph), tuple(layers)


def rectified(ann: nn.Module) -> nn.Module:
    """A view in which every `QCFS` is the ReLU that it rounds."""
    return rewire(ann, lambda _, module: nn.ReLU().train(module.training) if isinstance(module, QCFS) else None)


def module_of(tree: nn.Module, graph: fx.Graph) -> fx.GraphModule:
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

    def place(name: str) -> tuple[int, str]:
        """Where a name leads to: blocks, too, may have several."""
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


def _call_norms(graph: fx.Graph, tree: nn.Module) -> bool:
    """Batch norms that write out their forward pass (as in timm) become torch's own, which follow the train/eval flags."""
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
    """Tensors that are neither parameter nor buffer, such as those made in the forward pass, become unsaved buffers."""
    for node in graph.nodes:
        parent, _, name = str(node.target).rpartition(".")
        if node.op == "get_attr" and name not in (own := tree.get_submodule(parent))._parameters | own._buffers:
            value = getattr(traced.get_submodule(parent), name)
            own.__dict__.pop(name, None)
            own.register_buffer(name, value, persistent=False)


def put_at(tree: nn.Module, place: str, module: nn.Module) -> None:
    """Let a module stand at a path, with the flag of the module that it belongs to."""
    parent, _, name = place.rpartition(".")
    holder = tree.get_submodule(parent)
    holder._modules[name] = module.train(holder.training)


def _put(tree: nn.Module, node: fx.Node, module: nn.Module, place: str | None = None) -> None:
    """Let ``node`` call ``module`` at ``place``, or under a fresh name in or beside its owner."""
    if place is None:
        beside = f"{node.target}_" if node.op == "call_module" else f"{owner(node)}." if owner(node) else ""
        taken = {name for name, _ in tree.named_modules(remove_duplicate=False)}
        kind = type(module).__name__.lower()
        place = next(name for i in range(1, len(taken) + 2) if (name := f"{beside}{kind}_{i}") not in taken)
    put_at(tree, place, module)
    node.args = node.args[:1] or (node.kwargs["input"],)
    node.op, node.target, node.kwargs = "call_module", place, {}
