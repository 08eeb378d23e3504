"""Recomputation of saved activations in backward, where cheaper inputs are already saved."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

Again = Callable[[], Tensor]


_Known = tuple[weakref.ref[Tensor], int, Again]
"""A tensor, its version, and a function that recomputes it."""

_now: ContextVar[dict[int, _Known] | None] = ContextVar("recall", default=None)
_scale: ContextVar[dict[int, int] | None] = ContextVar("scale", default=None)


@contextmanager
def recalling() -> Iterator[None]:
    """Save a function that recomputes a `known` tensor instead of the tensor itself while this is open.

    Backward raises RuntimeError if a tensor that it needs was modified after the forward pass, as it does without hooks.
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
    """Raise RuntimeError if a tensor was modified after the forward pass that saw ``version``."""
    if x._version != version:
        raise RuntimeError(
            f"a tensor {list(x.shape)} that the gradient needs was modified after the forward pass: run backward before the "
            "optimizer steps, or repeat the forward pass"
        )


def graph_bytes(net: nn.Module, x: Tensor) -> int:
    """Return the bytes that the graph of ``net(x)`` keeps for backward, parameters included."""
    seen: dict[int, int] = {}
    token = _scale.set(seen)
    try:
        with torch.autograd.graph.saved_tensors_hooks(_weighed, lambda kept: kept), torch.enable_grad():
            y = net(x)  # while it lives, no memory is reused
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
    """Register how to recompute ``x``, bit for bit and in the same layout, for `recalling`; return ``x``."""
    made = _now.get()
    if made is not None:
        made[x.data_ptr()] = weakref.ref(x), x._version, make
    return x


def again(x: Tensor) -> Again | None:
    """Return how to recompute a known tensor or a view of it; None if it is not known or was modified since."""
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
