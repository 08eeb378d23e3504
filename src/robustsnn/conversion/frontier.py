"""The inputs of every neuron layer in turn, without recomputing from the images: spikes are kept as bits."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
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
STORE = 1 << 31  # most bytes kept between layers, over all batches

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm2d)


class Frontier:
    """The live values of every batch behind the last computed neurons; initially the images.

    The part up to the next neurons runs once: their input is kept until their threshold is known, and is then fired. If there
    is no room for the input, the spikes before this part are kept as bits, and the part runs twice. If there is no room for
    the spikes either (a residual stream that is not spikes), the batch stays behind, and more is recomputed for every layer.
    At most `STORE` bytes are kept. The network must run as in calibration, and only its thresholds may change afterwards.
    """

    def __init__(self, net: SpikingNetwork, nodes: Sequence[fx.Node], batches: Sequence[Tensor]) -> None:
        names = {id(neuron): name for name, neuron in net.neurons.items()}
        self.places: dict[str, int] = {}  # first step of each neuron layer
        for i, node in enumerate(nodes):
            if node.op == "call_module" and (name := names.get(id(net.body.get_submodule(str(node.target))))) is not None:
                self.places.setdefault(name, i)
        self.nodes, self.batches = nodes, batches
        self.done = [0] * len(batches)  # the next step of each batch
        self.kept: list[dict[fx.Node, Any]] = [{} for _ in batches]

    @torch.no_grad()
    def receive(self, net: SpikingNetwork, name: str, look: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return ``look(x)`` of the input of neurons ``name`` of ``net`` for each batch; call it in firing order."""
        stop = self.places[name]
        fired = max((place + 1 for place in self.places.values() if place < stop), default=0)
        (current,) = self.nodes[stop].all_input_nodes
        found, spikes, values = [], 0.0, 0.0  # bytes per image, as the first batch shows
        for batch, images in enumerate(self.batches):
            here, room = self.done[batch], partial(self._room, batch)
            keeps = batch > 0 and values * len(images) <= room(spikes)
            packs = not keeps and here < fired and (batch == 0 or spikes > 0)
            live = _unpacked(self.kept[batch], copied=not keeps and (batch == 0 or not packs))
            if packs:
                live = self._run(net, batch, live, here, fired)
                packed, here = _packed(live), fired
                if batch > 0 or _bytes(packed) * sum(map(len, self.batches)) <= STORE * len(images):
                    self.kept[batch], self.done[batch] = packed, fired
                    spikes = _bytes(packed) / len(images)
                    live = _apart(live, packed)
            elif keeps:
                self.kept[batch] = {}  # it changes in place
            live = self._run(net, batch, live, here, stop)
            if batch == 0:
                values = _bytes(live) / len(images)
                keeps = values * len(images) <= room(spikes)
            if keeps:
                self.kept[batch], self.done[batch] = live, stop
            found.append(look(live[current]))
        return found

    def _room(self, batch: int, spikes: float) -> float:
        """Return the bytes that a batch may keep, if every later one needs ``spikes`` bytes per image."""
        others = [(i, _bytes(kept), spikes * len(self.batches[i])) for i, kept in enumerate(self.kept) if i != batch]
        return STORE - sum(max(now, later) if i > batch else now for i, now, later in others)

    def _run(self, net: SpikingNetwork, batch: int, live: dict[fx.Node, Any], start: int, stop: int) -> dict[fx.Node, Any]:
        """Run from step ``start`` to ``stop``. Return the live values there; None for steps that are no longer read."""
        run = Sparing(net.body, graph=self.nodes[0].graph)
        run.stop = self.nodes[stop]
        images = () if start else (net.begun(self.batches[batch].clone(memory_format=torch.contiguous_format)),)
        with suppress(_Stopped):
            run.run(*images, initial_env=live, enable_io_processing=False)
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
            if type(module) in BATCH_NORMS and module.affine and module.running_mean is None and x.dtype.itemsize >= 4:
                mean, inverse = x.new_empty(2, x.shape[1])
                given = x, module.weight, module.bias, None, None, True, 0.0, module.eps
                torch.ops.aten.native_batch_norm.out(*given, out=x, save_mean=mean, save_invstd=inverse)
                return x
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
        x = torch.empty(8 * len(self.bits), dtype=self.dtype, device=self.bits.device)
        for part, bits in zip(x.split(CHUNK), self.bits.split(CHUNK // 8), strict=True):
            torch.index_select(table, 0, bits.int(), out=part.view(-1, 8))
        return x[: self.shape.numel()].view(self.shape)


GATHER = 0x0102040810204080
"""Times eight bytes of 0 or 1, read as one integer: their bits, in the highest byte."""
WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers by size in bytes."""


def pack(x: Tensor) -> Bits | None:
    """Return the bits of a contiguous tensor; None if it holds anything but 0 and 1."""
    whole, packed = WHOLE[x.dtype.itemsize], []
    for part in x.flatten().split(CHUNK):
        ones = part == 1
        if not torch.equal(part.view(whole), ones.to(part.dtype).view(whole)):  # 0 and -0 differ
            return None
        if len(part) % 8:
            ones = F.pad(ones, (0, -len(part) % 8))
        packed.append((ones.view(torch.int64) * GATHER >> 56).to(torch.uint8))
    return Bits(torch.cat(packed), x.shape, x.dtype)


def _packed(values: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Pack spikes as bits, unless another value is a view of them."""
    owners = Counter(place for place, _ in _storages(values))

    def packed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.is_contiguous():
            return value
        return pack(value) or value if owners[value.untyped_storage().data_ptr()] == 1 else value

    return {node: packed(value) for node, value in values.items()}


def _unpacked(kept: dict[fx.Node, Any], copied: bool) -> dict[fx.Node, Any]:
    """Return the values; copied, so that in-place operations do not change what is kept. Shared memory stays shared."""
    values = copy.deepcopy(list(kept.values())) if copied else kept.values()
    return {node: value.unpacked() if isinstance(value, Bits) else value for node, value in zip(kept, values, strict=True)}


def _apart(values: dict[fx.Node, Any], packed: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Return the values, with copies of those that are kept as they are."""
    return values | _unpacked({node: value for node, value in packed.items() if not isinstance(value, Bits)}, copied=True)


def _bytes(values: dict[fx.Node, Any]) -> int:
    """Return the memory of all tensors."""
    return sum(dict(_storages(values)).values())


def _storages(values: dict[fx.Node, Any]) -> list[tuple[int, int]]:
    """Return address and bytes of the memory of every tensor, also inside lists and tuples."""
    found: list[tuple[int, int]] = []

    def note(leaf: Any) -> None:
        held = leaf.bits if isinstance(leaf, Bits) else leaf
        if isinstance(held, Tensor):
            found.append((held.untyped_storage().data_ptr(), held.untyped_storage().nbytes()))

    map_aggregate(list(values.values()), note)
    return found
