"""What conversion does with each step of a forward pass: neurons for ReLU, what is kept, what is refused and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.conversion.operations import (
    DROPOUTS,
    LINEAR_IN_EACH,
    MAX_POOLS,
    QUOTIENTS,
    RELU,
    SAMPLE_NORMS,
    SIZES,
    Kind,
    kind_of,
)

_DROPOUTS: dict[Callable[..., Any], type[nn.Module]] = {
    F.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d, F.dropout3d: nn.Dropout3d,
}  # fmt: skip


def judge(node: fx.Node, module: nn.Module | None, allow: Collection[str]) -> tuple[str, nn.Module | None]:
    """What becomes of a step, and the module that takes its place, if any. Raises ValueError: it cannot be converted; the line
    names it and the remedy."""
    kind, what = kind_of(node, module), _named(node, module)
    if kind is RELU:
        return "spiking neurons" + ("" if module else ", made a module from a functional activation"), nn.ReLU()
    if kind is DROPOUTS and not module:
        arguments = dict(zip(("p",), node.args[1:2], strict=False)) | {k: v for k, v in node.kwargs.items() if k == "p"}
        return "kept: made a module from functional dropout", _DROPOUTS[node.target](**arguments)  # type: ignore[index]
    if isinstance(module, nn.SyncBatchNorm):
        raise ValueError(f"{what} runs in several processes: load the weights into a network with plain batch norms")
    if isinstance(module, _BatchNorm) and module.running_mean is None:
        raise ValueError(
            f"{what} normalises by the batch itself, into which time is folded: train it with track_running_stats=True"
        )
    if kind is MAX_POOLS and "max_pool" not in allow:
        raise ValueError(
            f"{what} is a max-pool, which loses the rate of spikes: use an average pool, or pass allow={{'max_pool'}} to "
            "keep it (the logical or of the spikes)"
        )
    if kind is None and module:
        raise ValueError(
            f"{what} cannot be converted: a spiking neuron stands for ReLU only; "
            "replace it by nn.ReLU (or, if it is linear, by convolution, linear, norm or average pool) and train again"
        )
    if kind is None:
        raise ValueError(
            f"{what} cannot be converted: a spiking network is made of ReLU, "
            "convolutions, linears, norms, average pools, additions, concatenations and reshapes; express it by those"
        )
    if kind is SAMPLE_NORMS:
        return kind.becomes, None
    return "kept: max-pooling of spikes is their logical or" if kind is MAX_POOLS else "kept", None


def check_products(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> None:
    """Raises ValueError: activations are multiplied with each other, or divided by. Of spikes, this is another function: the
    square of a spike is the spike."""
    spiking: set[fx.Node] = set()
    for node in graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        kind, active = kind_of(node, module), [source for source in node.all_input_nodes if source in spiking]
        if kind is RELU or (active and kind is not SIZES):
            spiking.add(node)
        if kind in LINEAR_IN_EACH and _factors(node, kind, active) > 1:
            raise ValueError(
                f"{_named(node, module)} multiplies activations with each other, or divides by them, which is not linear: of "
                "spikes it would be another function; leave it out, or multiply by a weight, and train again"
            )


def _factors(node: fx.Node, kind: Kind | None, active: Collection[fx.Node]) -> int:
    """How many factors come from activations; to be divided by them counts as two."""
    given = [*node.args, *node.kwargs.values()]
    parts = [part for value in given for part in (value if isinstance(value, list | tuple) else [value])]
    return sum(2 if kind is QUOTIENTS and place else 1 for place, part in enumerate(parts) if part in active)


def owner(node: fx.Node) -> str:
    """The path of the module in whose forward pass a node stands."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def _named(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return f"layer {str(node.target)!r} ({type(module).__name__})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"operation {name} in module {owner(node)!r}"
