"""What a graph would keep is forgotten, where it can be computed again from what the graph keeps anyway."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

Again = Callable[[], Tensor]


_Known = tuple[weakref.ref[Tensor], int, Again]
"""A tensor, its version, and how to make it anew."""

_now: ContextVar[dict[int, _Known] | None] = ContextVar("recall", default=None)
_scale: ContextVar[dict[int, int] | None] = ContextVar("scale", default=None)


@contextmanager
def recalling() -> Iterator[None]:
    """What is computed inside keeps, in place of tensors that were made `known`, how to make them anew.

    The way back raises RuntimeError where what it needs was written to in between, as it does without hooks.
    """

    def pack(x: Tensor) -> tuple[Tensor, int] | Again:
        return again(x) or (_weighed(x), x._version)

    def unpack(kept: tuple[Tensor, int] | Again) -> Tensor:
        if not isinstance(kept, tuple):
            return kept()
        x, version = kept
        check_unwritten(x, version)
        return x

    token = _now.set({})
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield
    finally:
        _now.reset(token)


def check_unwritten(x: Tensor, version: int) -> None:
    """Raise RuntimeError where a tensor is no longer the version that a forward pass saw."""
    if x._version != version:
        raise RuntimeError(
            f"a tensor {list(x.shape)} that the gradient needs was written to after the forward pass: run backward before the "
            "optimizer steps, or the forward pass again"
        )


def graph_bytes(net: nn.Module, x: Tensor) -> int:
    """Bytes that the graph of ``net(x)`` keeps for the way back, parameters included."""
    seen: dict[int, int] = {}
    token = _scale.set(seen)
    try:
        with torch.autograd.graph.saved_tensors_hooks(_weighed, lambda kept: kept), torch.enable_grad():
            y = net(x)  # as long as it lives, no memory is taken twice
        del y
    finally:
        _scale.reset(token)
    return sum(seen.values())


def _weighed(x: Tensor) -> Tensor:
    if (seen := _scale.get()) is not None:
        storage = x.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    return x


def known(x: Tensor, make: Again) -> Tensor:
    """The same tensor, of which `recalling` knows from now on how to make it anew: to the bit, in the same layout."""
    made = _now.get()
    if made is not None:
        made[x.data_ptr()] = weakref.ref(x), x._version, make
    return x


def again(x: Tensor) -> Again | None:
    """How to make anew what is known, or a view of it; None for what is not known, or was written to since."""
    found = (_now.get() or {}).get(x.data_ptr())
    if found is None:
        return None
    reference, version, make = found
    alive = reference()
    if alive is None or alive._version != version or alive.dtype != x.dtype:
        return None
    shape, stride, layout = x.shape, x.stride(), alive.stride()

    def view() -> Tensor:
        anew = make()
        assert anew.stride() == layout
        return anew.as_strided(shape, stride)

    return view
