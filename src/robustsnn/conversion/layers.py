"""What conversion does with each step of a forward pass: it becomes neurons, stays, or is rejected with a remedy."""

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
    """Return what becomes of a step, and its replacement module, if any. Raises ValueError if it cannot be converted."""
    kind, what = kind_of(node, module), _named(node, module)
    if kind is RELU:
        return "spiking neurons" + ("" if module else ", made a module from a functional activation"), nn.ReLU()
    if kind is DROPOUTS and not module:
        arguments = dict(zip(("p",), node.args[1:2], strict=False)) | {k: v for k, v in node.kwargs.items() if k == "p"}
        return "kept: made a module from functional dropout", _DROPOUTS[node.target](**arguments)  # type: ignore[index]
    if isinstance(module, nn.SyncBatchNorm):
        raise ValueError(f"{what} needs several processes: load the weights into a network with plain batch norms")
    if isinstance(module, _BatchNorm) and module.running_mean is None:
        raise ValueError(
            f"{what} normalises by batch statistics, which mix time steps: train it with track_running_stats=True"
        )
    if kind is MAX_POOLS and "max_pool" not in allow:
        raise ValueError(
            f"{what} is a max-pool, which does not preserve firing rates: use an average pool, or keep it (logical OR of the "
            "spikes) with allow={'max_pool'}, or --conversion.max_pool true"
        )
    if kind is None and module:
        raise ValueError(
            f"{what} cannot be converted: a spiking neuron can replace only a ReLU; "
            "use nn.ReLU (or, if it is linear, a convolution, linear layer, norm or average pool) and train again"
        )
    if kind is None:
        raise ValueError(
            f"{what} cannot be converted: a spiking network consists of ReLU, convolutions, linear layers, norms, average "
            "pools, additions, concatenations and reshapes; express it by those"
        )
    if kind is SAMPLE_NORMS:
        return kind.becomes, None
    return "kept: max-pooling of spikes is their logical OR" if kind is MAX_POOLS else "kept", None


def check_products(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> None:
    """Raise ValueError if activations are multiplied with each other or divided by. For spikes this is another function: the
    square of a spike is the spike."""
    spiking: set[fx.Node] = set()
    for node in graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        kind, active = kind_of(node, module), [source for source in node.all_input_nodes if source in spiking]
        if kind is RELU or (active and kind is not SIZES):
            spiking.add(node)
        if kind in LINEAR_IN_EACH and _factors(node, kind, active) > 1:
            raise ValueError(
                f"{_named(node, module)} multiplies activations with each other, or divides by them, which spikes cannot "
                "represent: remove it, or multiply by a weight, and train again"
            )


def _factors(node: fx.Node, kind: Kind | None, active: Collection[fx.Node]) -> int:
    """Return the number of factors that are activations; a division by one counts as two."""
    given = [*node.args, *node.kwargs.values()]
    parts = [part for value in given for part in (value if isinstance(value, list | tuple) else [value])]
    return sum(2 if kind is QUOTIENTS and place else 1 for place, part in enumerate(parts) if part in active)


def owner(node: fx.Node) -> str:
    """Return the path of the module whose forward pass contains a node."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def _named(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return f"layer {str(node.target)!r} ({type(module).__name__})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"operation {name} in module {owner(node)!r}"
