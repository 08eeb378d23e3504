"""Number of spikes that the values inside a spiking network represent."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor, fx

from robustsnn.conversion.fold import faithful
from robustsnn.conversion.operations import (
    DROPOUTS,
    JOINS,
    MAX_POOLS,
    MEANS,
    POOLS,
    RESIZES,
    SHAPES,
    SUMS,
    TOTALS,
    WEIGHTS,
    kind_of,
)
from robustsnn.models.layers import WeightLayer
from robustsnn.spiking import NeuronLayer, SpikingNetwork

SAME = (SHAPES, DROPOUTS, SUMS, JOINS, TOTALS, MAX_POOLS)
"""Operations that do not change how many spikes a value represents."""


def fed_by_spikes(net: SpikingNetwork, x: Tensor) -> tuple[dict[str, float], bool] | None:
    """Return the number of spikes that an input value of 1 represents, per weight layer: 0 for layers with analog inputs, and
    whether these layers do all multiplications; None if the forward pass cannot be traced.

    Arguments:
        net: the network, in eval mode.
        x: an image, ``[1,C,H,W]``.
    """
    run = faithful(net.body, net.begun(x), lambda graph: _Followed(net.body, garbage_collect_values=False, graph=graph))
    return None if run is None else (run.fed, run.all_in_layers)


class _Followed(fx.Interpreter):
    """Runs a body step by step and records how many spikes a value of 1 represents."""

    fed: dict[str, float]
    all_in_layers: bool
    units: dict[fx.Node, float]

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            self.fed, self.units, self.all_in_layers = {}, {}, True
        tensors = [node for node in n.all_input_nodes if isinstance(self.env[node], Tensor)]
        units = {self.units[node] for node in tensors}
        unit = units.pop() if len(units) == 1 else 0.0
        out = super().run_node(n)
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        kind = kind_of(n, module)
        if n.op.startswith("call") and not isinstance(module, NeuronLayer):
            self.all_in_layers &= kind is not None and (module is not None or kind is not WEIGHTS)
        if isinstance(module, WeightLayer):
            name = str(n.target)
            self.fed[name] = unit if self.fed.get(name, unit) == unit else 0.0
        if isinstance(module, NeuronLayer):
            self.units[n] = 1.0
        elif kind is POOLS:
            kernel: Any = module.kernel_size if module is not None else n.kwargs.get("kernel_size") or n.args[1]
            self.units[n] = unit * (prod(kernel) if isinstance(kernel, tuple) else kernel ** (out.dim() - 2))
        elif kind is MEANS:
            self.units[n] = unit * self.env[tensors[0]].numel() / out.numel()
        else:
            self.units[n] = unit if kind in SAME or (kind is RESIZES and _repeats(n, module)) else 0.0
        return out


def _repeats(n: fx.Node, module: Any) -> bool:
    """Return whether upsampling repeats values, and thus spikes."""
    mode = module.mode if module is not None else n.kwargs.get("mode", n.args[3] if len(n.args) > 3 else "nearest")
    return str(mode).startswith("nearest")
