"""Rescaling for spikes of height 1: weights, biases and statistics in the units of the neurons.

An activation that replaces a ReLU outputs at most 1 where the ReLU reached its height ``h``, the threshold. The network
computes the same if the following layer receives ``h`` times as much: its weights are multiplied by ``h``. Where the
activation is added to the output of a layer, that output is divided by ``h`` instead.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.compute import copied, view
from robustsnn.conversion.calibration import exact_percentile
from robustsnn.conversion.fold import followed
from robustsnn.conversion.operations import PRODUCTS, SAMPLE_NORMS, SIZES, SUMS
from robustsnn.models.layers import WeightLayer

INVARIANT: tuple[Any, ...] = SAMPLE_NORMS.modules


def scaled(body: nn.Module, heights: Mapping[str, float]) -> Scaled:
    """Rescale a body so that it computes the same when each activation ``name`` outputs ``1 / heights[name]`` times as much.

    Arguments:
        body: a result of `robustsnn.conversion.trace`, with one activation module per place; not changed.
        heights: by module path, greater than 0.

    Raises:
        ValueError: the body cannot be traced, or an operation needs its input in the units of the ANN.
    """
    shared = {name: name for name in heights}
    while True:
        groups = {name: max(heights[other] for other in heights if shared[other] == shared[name]) for name in heights}
        try:
            return Scaled(copied(body), groups)
        except _Together as two:
            kept, gone = (shared[name] for name in two.names)
            shared = {name: kept if group == gone else group for name, group in shared.items()}


@torch.no_grad()
def heights_of(body: nn.Module, batches: Iterable[Tensor], percentile: float, repeats: int = 1) -> dict[str, float]:
    """Return, per activation of a traced body, the maximum over batches of the percentile of its input, with each sample
    repeated ``repeats`` times. An activation that receives nothing above 0 gets the mean of the others."""
    found: dict[str, float] = {}
    fresh = view(body).eval()
    for name, module in fresh.named_modules():
        if isinstance(module, nn.ReLU):

            def look(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                found[name] = max(found.get(name, 0.0), exact_percentile(given[0].flatten(), percentile, repeats))

            module.register_forward_pre_hook(look)
    for images in batches:
        fresh(images)
    seen = [height for height in found.values() if height > 0] or [1.0]
    return {name: height if height > 0 else sum(seen) / len(seen) for name, height in found.items()}


class _Together(Exception):
    """Two activations are added without weights in between and must share a height."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Scaled:
    """A body in the units of its neurons; walking over its graph rescales it.

    Arguments:
        body: its weights and statistics are changed to fit activations of height 1.
        heights: of every activation; equal for activations that are added.
    """

    @torch.no_grad()
    def __init__(self, body: nn.Module, heights: dict[str, float]) -> None:
        self.body, self.heights = body, heights
        self.units: dict[str, float] = {}  # per activation: factor from its input to that of the ANN
        self.found: dict[fx.Node, float] = {}  # the same for every value
        self.sizes: set[fx.Node] = set()  # values that depend on shapes only
        self.taken: dict[int, tuple[float, str]] = {}  # per layer: height absorbed at its first place, and its activation
        self.modules = dict(self.body.named_modules(remove_duplicate=False))
        graph = followed(view(self.body).eval())
        self.calls = Counter(id(self.modules[str(n.target)]) for n in graph.nodes if n.op == "call_module")
        self.tensors = Counter(id(p) for m in set(self.modules.values()) for p in m._parameters.values() if p is not None)
        for node in graph.nodes:
            if node.op == "placeholder":
                self.found[node] = 1.0
            elif node.op == "output":
                self._plain(node, *(source for source in node.all_input_nodes if source in self.found))
            elif node.target in SIZES.calls or (node.all_input_nodes and self.sizes.issuperset(node.all_input_nodes)):
                self.sizes.add(node)
            elif any(source in self.found for source in node.all_input_nodes):
                self.found[node] = self._visit(node)

    @property
    def thresholds(self) -> dict[str, float]:
        """Thresholds of neurons or staircases in the units of their input, which mostly equal those of the ANN."""
        return {name: height / self.units[name] for name, height in self.heights.items()}

    def _visit(self, node: fx.Node) -> float:
        active = [source for source in node.all_input_nodes if source in self.found]
        if node.op == "call_module":
            return self._module(node, self.modules[str(node.target)], active[0])
        own = len(active) < len(set(node.all_input_nodes) - self.sizes)
        if node.target in PRODUCTS.calls and len(active) == 1:
            return self._product(node, active[0]) if own else self.found[active[0]]
        moved = node.target in SUMS.calls and any(isinstance(a, int | float) and a for a in node.args)
        if own or moved:  # own tensors, as in a functional layer, or an added constant
            self._plain(node, *active)
        return self._agreed(node, active)

    def _module(self, node: fx.Node, module: nn.Module, source: fx.Node) -> float:
        name, height = str(node.target), self.found[source]
        if name in self.heights:
            self.units[name] = height
            return self.heights[name]
        if isinstance(module, (WeightLayer, *INVARIANT, _BatchNorm)):
            self._receive(node, module, source)
            return 1.0
        if isinstance(module, nn.ConstantPad1d | nn.ConstantPad2d | nn.ConstantPad3d) and module.value:
            self._plain(node, source)
        return height

    def _product(self, node: fx.Node, source: fx.Node) -> float:
        """Handle a product: a learned number, such as the weight of a branch, absorbs the height; any other keeps it."""
        height = self.found[source]
        other = next(factor for factor in node.all_input_nodes if factor is not source)
        if other.target is operator.getitem and len(other.users) == 1 and isinstance(other.args[1], int):
            holder, _, key = str(getattr(other.args[0], "target", "")).rpartition(".")
            value = self.modules[holder]._parameters.get(key) if holder in self.modules else None
            if value is not None and self.calls[id(self.modules[holder])] <= 1:
                value[other.args[1]] *= height
                return 1.0
        return height

    def _agreed(self, node: fx.Node, active: list[fx.Node]) -> float:
        """Return the common unit of all values in an addition or concatenation."""
        common = next((self.found[source] for source in active if self.found[source] != 1), 1.0)
        for source in active:
            if self.found[source] == common or (self.found[source] == 1 and self._divide(source, common)):
                continue
            names = [name for other in active if (name := self._activation(other))]
            differing = [name for name in names if self.heights[name] != self.heights[names[0]]]
            if self.found[source] == 1 or not differing:
                self._plain(node, *active)
            raise _Together(names[0], differing[0])
        return common

    def _activation(self, node: fx.Node) -> str:
        """Return the activation whose output a value is, possibly reshaped or pooled; empty if there is none."""
        while node.op != "placeholder" and self.found[node] != 1:
            if node.op == "call_module" and str(node.target) in self.heights:
                return str(node.target)
            sources = [source for source in node.all_input_nodes if source in self.found]
            if len(sources) != 1:
                return ""
            (node,) = sources
        return ""

    def _divide(self, node: fx.Node, height: float) -> bool:
        """Divide the output of the layer that made a value by ``height``; return False if it has other readers."""
        chain = [node]
        while node.op == "call_module" and len(node.users) == 1:
            module = self.modules[str(node.target)]
            if isinstance(module, WeightLayer | _BatchNorm):
                break
            if str(node.target) in self.heights or isinstance(module, INVARIANT):
                return False
            (node,) = node.all_input_nodes
            chain.append(node)
        else:
            return False
        if self.calls[id(module)] > 1 or module.weight is None:
            return False
        self._check_own(node, module)
        for parameter in (module.weight, module.bias):
            if isinstance(parameter, Tensor):
                parameter.div_(height)
        self.found.update(dict.fromkeys(chain, height))
        return True

    def _receive(self, node: fx.Node, module: nn.Module, source: fx.Node) -> None:
        """Let a layer absorb the height of its input; a layer in several places must absorb the same in all of them."""
        height, (before, whose) = self.found[source], self.taken.get(id(module), (0.0, ""))
        if not before:
            self.taken[id(module)] = height, self._activation(source)
            if height != 1:
                self._check_own(node, module)
                _take(module, height)
        elif before != height:
            if whose and (name := self._activation(source)):
                raise _Together(whose, name)
            raise ValueError(f"layer {node.target!r} is used in several places with different units: {_REMEDY}")

    def _check_own(self, node: fx.Node, module: nn.Module) -> None:
        if isinstance(module, WeightLayer) and module._parameters.get("weight") is None:
            raise ValueError(
                f"layer {node.target!r} computes its weight from other tensors: call "
                "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') first (remove_weight_norm, prune.remove)"
            )
        if any(self.tensors[id(p)] > 1 for p in module._parameters.values() if p is not None):
            raise ValueError(f"layer {node.target!r} shares its weights with another one: {_REMEDY}")

    def _plain(self, node: fx.Node, *sources: fx.Node) -> None:
        """Raise ValueError if an operation needs its inputs in the units of the ANN but receives others."""
        if any(self.found[source] != 1 for source in sources):
            what = "the output" if node.op == "output" else f"{getattr(node.target, '__name__', node.target)} ({node.name})"
            raise ValueError(f"{what} needs its input in the units of the ANN: {_REMEDY}")


_REMEDY = "put a convolution or linear layer in between, or convert with batch_norm='reestimate' and finetune"


def _take(module: nn.Module, height: float) -> None:
    """Let a layer receive ``1 / height`` times its input and compute the same output."""
    if isinstance(module, WeightLayer):
        module.weight *= height
    elif isinstance(module, INVARIANT):
        eps = torch.finfo(torch.float32).eps if module.eps is None else module.eps  # RMSNorm allows None
        module.eps = eps / height**2
    elif isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
        module.running_mean /= height
        module.running_var.copy_(((module.running_var + module.eps) / height**2 - module.eps).clamp_min(0))
