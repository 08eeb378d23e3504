"""What every layer of neurons receives, in turn, without starting again from the images: spikes are kept, as bits."""

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

CHUNK = 1 << 22  # values looked at together: bounds the memory of whatever need not see everything at once
STORE = 1 << 30  # bytes that what is kept between layers may take, all batches together

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm2d)


class Frontier:
    """What is alive, batch by batch, behind the neurons up to which everything has been computed; at first, the images.

    From there to the next neurons everything runs once to look at what they receive and once more, when their threshold is
    known, to fire them. Only where more than `STORE` bytes would be alive (a residual stream that is no spikes) does the
    frontier stay behind for a while, and what lies in between is computed for every layer again.
    Of the network, which is as calibration runs it, only the thresholds may change later.
    """

    def __init__(self, net: SpikingNetwork, nodes: Sequence[fx.Node], batches: Sequence[Tensor]) -> None:
        names = {id(neuron): name for name, neuron in net.neurons.items()}
        self.places: dict[str, int] = {}  # at which step neurons fire for the first time
        for i, node in enumerate(nodes):
            if node.op == "call_module" and (name := names.get(id(net.body.get_submodule(str(node.target))))) is not None:
                self.places.setdefault(name, i)
        self.nodes, self.batches, self.done = nodes, batches, 0
        self.kept: list[dict[fx.Node, Any]] = [{} for _ in batches]

    @torch.no_grad()
    def receive(self, net: SpikingNetwork, name: str, look: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """``look(x)`` for all that the neurons ``name`` of ``net`` receive on each batch; to be asked in firing order."""
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
        """What is alive before step ``stop``; None for steps whose values no one reads any more."""
        run = Sparing(net.body, graph=self.nodes[0].graph)
        run.stop = self.nodes[stop]
        images = () if self.done else (net.begun(self.batches[batch].clone(memory_format=torch.contiguous_format)),)
        with suppress(_Stopped):
            run.run(*images, initial_env=_unpacked(self.kept[batch]), enable_io_processing=False)
        return {node: run.env.get(node) for node in self.nodes[:stop] if node.op != "get_attr"}


@torch.no_grad()
def frontier(net: SpikingNetwork, batches: Sequence[Tensor]) -> Frontier | None:
    """The frontier at the images; None where the forward pass cannot be followed (or only by a graph that computes something
    else, as for branches on types) or does not go through the neurons in their order."""
    few = net.signal.stills(batches[0][torch.arange(2) % len(batches[0])])
    # by ReLU, since spikes would hide much
    analog = rewire(net.body, lambda _, module: nn.ReLU() if isinstance(module, NeuronLayer) else None)
    run = faithful(net.body, few, lambda graph: Sparing(analog, graph=graph))
    if run is None:
        return None
    start = Frontier(net, list(run.graph.nodes), batches)
    return start if list(start.places) == list(net.neurons) else None


class _Stopped(Exception):
    """Ends a run at the step that it was to reach."""


class Sparing(fx.Interpreter):
    """Runs a body step by step, the same to the bit, with less memory: convolutions slice by slice; batch norms and neurons
    in place of an input that no one else reads."""

    stop: fx.Node | None = None
    """Before which step to end by `_Stopped`."""

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
        """Whether the input is new memory that no one else reads."""
        (source,) = n.all_input_nodes
        if source.op != "call_module" or len(source.users) != 1:
            return False
        return isinstance(self.fetch_attr(str(source.target)), (_ConvNd, nn.Linear, *BATCH_NORMS))


def by_parts(function: Callable[[Tensor, slice], Tensor], x: Tensor, dim: int, out: Tensor | None = None) -> Tensor:
    """``function(part, where)`` for slices of ``x`` along ``dim``, put together in ``out`` (which may be ``x``) or anew."""
    length = x.shape[dim]
    parts = min(length, -(-x.numel() // CHUNK))  # of equal length: a tiny rest may go through other kernels, with other bits
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
    """A tensor of zeros and ones, eight to a byte."""

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
    """The bits of a contiguous tensor; None where it holds anything but 0 and 1."""
    powers = 2 ** torch.arange(8, device=x.device, dtype=x.dtype)
    packed = []
    for part in x.flatten().split(CHUNK):
        if not (((part == 0) & ~part.signbit()) | (part == 1)).all():
            return None
        packed.append((F.pad(part, (0, -len(part) % 8)).view(-1, 8) @ powers).to(torch.uint8))
    return Bits(torch.cat(packed), x.shape, x.dtype)


def _packed(values: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The same with spikes as bits, where no other value is a view of them."""
    owners = Counter(place for place, _ in _storages(values))

    def packed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.is_contiguous():
            return value
        return pack(value) or value if owners[value.untyped_storage().data_ptr()] == 1 else value

    return {node: packed(value) for node, value in values.items()}


def _unpacked(kept: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The values anew: in-place operations on them change nothing that is kept; what shares memory shares it still."""
    copied = zip(kept, copy.deepcopy(list(kept.values())), strict=True)
    return {node: value.unpacked() if isinstance(value, Bits) else value for node, value in copied}


def _storages(values: dict[fx.Node, Any]) -> list[tuple[int, int]]:
    """Where the memory of every tensor in them is, also in lists and tuples, and how many bytes it has."""
    found: list[tuple[int, int]] = []

    def note(leaf: Any) -> None:
        held = leaf.bits if isinstance(leaf, Bits) else leaf
        if isinstance(held, Tensor):
            found.append((held.untyped_storage().data_ptr(), held.untyped_storage().nbytes()))

    map_aggregate(list(values.values()), note)
    return found
