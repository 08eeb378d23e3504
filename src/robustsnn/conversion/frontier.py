"""The inputs of every neuron layer in turn, without recomputing from the images: spikes are kept as bits."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn.modules.conv import _ConvNd

from robustsnn.compute.norm import BatchNorm2d
from robustsnn.compute.rewiring import rewire
from robustsnn.conversion.fold import faithful
from robustsnn.spiking.layer import NeuronLayer
from robustsnn.spiking.network import SpikingNetwork

CHUNK = 1 << 22  # values per chunk, which bounds the memory of chunked operations
STORE = 1 << 30  # most bytes kept between layers, over all batches

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm2d)


class Frontier:
    """The live values of every batch behind the last computed neurons; initially the images.

    The part up to the next neurons runs once to see their input, and once more with their threshold to fire them. If more than
    `STORE` bytes would be alive (a residual stream that is not spikes), the frontier stays behind and the part in between is
    recomputed for every layer. The network must run as in calibration, and only its thresholds may change afterwards.
    """

    def __init__(self, net: SpikingNetwork, nodes: Sequence[fx.Node], batches: Sequence[Tensor]) -> None:
        names = {id(neuron): name for name, neuron in net.neurons.items()}
        self.places: dict[str, int] = {}  # first step of each neuron layer
        for i, node in enumerate(nodes):
            if node.op == "call_module" and (name := names.get(id(net.body.get_submodule(str(node.target))))) is not None:
                self.places.setdefault(name, i)
        self.nodes, self.batches, self.done = nodes, batches, 0
        self.kept: list[dict[fx.Node, Any]] = [{} for _ in batches]

    @torch.no_grad()
    def receive(self, net: SpikingNetwork, name: str, look: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return ``look(x)`` of the input of neurons ``name`` of ``net`` for each batch; call it in firing order."""
        before = [place for place in self.places.values() if place < self.places[name]]
        if before and max(before) >= self.done:
            self._advance(net, max(before) + 1)
        (current,) = self.nodes[self.places[name]].all_input_nodes
        return [look(self._reach(net, batch, self.places[name])[current]) for batch in range(len(self.batches))]

    def _advance(self, net: SpikingNetwork, stop: int) -> None:
        room = STORE / sum(len(images) for images in self.batches)
        for batch, images in enumerate(self.batches):
            kept = _packed(self._reach(net, batch, stop))
            if batch == 0 and sum(dict(_storages(kept)).values()) > room * len(images):
                return
            self.kept[batch] = kept
        self.done = stop

    def _reach(self, net: SpikingNetwork, batch: int, stop: int) -> dict[fx.Node, Any]:
        """Return the live values before step ``stop``; None for steps whose values are no longer read."""
        run = Sparing(net.body, graph=self.nodes[0].graph)
        run.stop = self.nodes[stop]
        images = () if self.done else (net.begun(self.batches[batch].clone(memory_format=torch.contiguous_format)),)
        with suppress(_Stopped):
            run.run(*images, initial_env=_unpacked(self.kept[batch]), enable_io_processing=False)
        return {node: run.env.get(node) for node in self.nodes[:stop] if node.op != "get_attr"}


@torch.no_grad()
def frontier(net: SpikingNetwork, batches: Sequence[Tensor]) -> Frontier | None:
    """Return the frontier at the images; None if the body cannot be traced (see `faithful`) or runs neurons out of order."""
    few = net.signal.stills(batches[0][torch.arange(2) % len(batches[0])])
    # with ReLU, since spikes would hide differences
    analog = rewire(net.body, lambda _, module: nn.ReLU() if isinstance(module, NeuronLayer) else None)
    run = faithful(net.body, few, lambda graph: Sparing(analog, graph=graph))
    if run is None:
        return None
    start = Frontier(net, list(run.graph.nodes), batches)
    return start if list(start.places) == list(net.neurons) else None


class _Stopped(Exception):
    """Ends a run at the step it should reach."""


class Sparing(fx.Interpreter):
    """Runs a body step by step with less memory and bitwise equal results: convolutions in slices, batch norms and neurons in
    place if no one else reads their input."""

    stop: fx.Node | None = None
    """The step before which to end with `_Stopped`."""

    def run_node(self, n: fx.Node) -> Any:
        if n is self.stop:
            raise _Stopped
        if n.op != "call_module" or len(n.args) != 1 or n.kwargs:
            return super().run_node(n)
        module, x = self.fetch_attr(str(n.target)), self.fetch_args_kwargs_from_env(n)[0][0]
        plain = isinstance(x, Tensor) and x.is_contiguous() and not (module._forward_hooks or module._forward_pre_hooks)
        if plain and isinstance(module, _ConvNd) and x.dim() == module.weight.dim():
            return by_parts(lambda part, _: module(part), x, 0)
        if plain and self._owned(n):
            if type(module) in BATCH_NORMS and module.affine and module.running_mean is None:
                scale, shift, eps = module.weight, module.bias, module.eps
                return by_parts(lambda part, c: F.batch_norm(part, None, None, scale[c], shift[c], True, 0.0, eps), x, 1, x)
            if isinstance(module, NeuronLayer) and not module.first:
                steps = x.unflatten(0, (module.dynamics.timesteps, -1))
                by_parts(lambda part, _: module(part.flatten(0, 1)).unflatten(0, (len(steps), -1)), steps, 1, steps)
                return x
        return super().run_node(n)

    def _owned(self, n: fx.Node) -> bool:
        """Return whether the input is new memory that no one else reads."""
        (source,) = n.all_input_nodes
        if source.op != "call_module" or len(source.users) != 1:
            return False
        return isinstance(self.fetch_attr(str(source.target)), (_ConvNd, nn.Linear, *BATCH_NORMS))


def by_parts(function: Callable[[Tensor, slice], Tensor], x: Tensor, dim: int, out: Tensor | None = None) -> Tensor:
    """Apply ``function(part, where)`` to slices of ``x`` along ``dim`` and join the results in ``out``, which may be ``x``."""
    length = x.shape[dim]
    parts = min(length, -(-x.numel() // CHUNK))  # equal lengths: a small rest may use other kernels that round differently
    if parts <= 1 and out is None:
        return function(x, slice(0, length))
    for i in range(parts):
        where = slice(i * length // parts, (i + 1) * length // parts)
        index = (slice(None),) * dim + (where,)
        result = function(x[index].contiguous(), where)
        if out is None:
            out = result.new_empty(*result.shape[:dim], length, *result.shape[dim + 1 :])
        out[index] = result
    assert out is not None
    return out


@dataclass(frozen=True)
class Bits:
    """A tensor of zeros and ones, packed eight to a byte."""

    bits: Tensor
    shape: torch.Size
    dtype: torch.dtype

    def __deepcopy__(self, memo: Any) -> Bits:
        return self

    def unpacked(self) -> Tensor:
        table = (torch.arange(256).unsqueeze(1) >> torch.arange(8) & 1).to(self.bits.device, self.dtype)
        x = torch.empty(self.shape, dtype=self.dtype, device=self.bits.device)
        for part, bits in zip(x.flatten().split(CHUNK), self.bits.split(CHUNK // 8), strict=True):
            part.copy_(table[bits.int()].flatten()[: len(part)])
        return x


def pack(x: Tensor) -> Bits | None:
    """Return the bits of a contiguous tensor; None if it holds anything but 0 and 1."""
    powers = 2 ** torch.arange(8, device=x.device, dtype=x.dtype)
    packed = []
    for part in x.flatten().split(CHUNK):
        if not (((part == 0) & ~part.signbit()) | (part == 1)).all():
            return None
        packed.append((F.pad(part, (0, -len(part) % 8)).view(-1, 8) @ powers).to(torch.uint8))
    return Bits(torch.cat(packed), x.shape, x.dtype)


def _packed(values: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Pack spikes as bits, unless another value is a view of them."""
    owners = Counter(place for place, _ in _storages(values))

    def packed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.is_contiguous():
            return value
        return pack(value) or value if owners[value.untyped_storage().data_ptr()] == 1 else value

    return {node: packed(value) for node, value in values.items()}


def _unpacked(kept: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Copy the values, so that in-place operations do not change what is kept; shared memory stays shared."""
    copied = zip(kept, copy.deepcopy(list(kept.values())), strict=True)
    return {node: value.unpacked() if isinstance(value, Bits) else value for node, value in copied}


def _storages(values: dict[fx.Node, Any]) -> list[tuple[int, int]]:
    """Return address and bytes of the memory of every tensor, also inside lists and tuples."""
    found: list[tuple[int, int]] = []

    def note(leaf: Any) -> None:
        held = leaf.bits if isinstance(leaf, Bits) else leaf
        if isinstance(held, Tensor):
            found.append((held.untyped_storage().data_ptr(), held.untyped_storage().nbytes()))

    map_aggregate(list(values.values()), note)
    return found
