"""One time step of a network as the few kinds of layer that other simulators support; a layer sums its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True)
class End:
    """The input or output of the network."""


@dataclass(frozen=True)
class Dense:
    """A linear layer: weight ``[out, in]``, bias ``[out]``."""

    weight: Array
    bias: Array

    def times(self, scale: Array, bias: Array) -> Dense:
        """Return this layer followed by ``y = scale * x + bias`` per unit or channel."""
        each = scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=self.weight * each, bias=self.bias * scale + bias)

    def after(self, factor: float) -> Dense:
        """Return this layer preceded by a multiplication by ``factor``."""
        return replace(self, weight=self.weight * factor)


@dataclass(frozen=True)
class Conv(Dense):
    """A zero-padded convolution: weight ``[out, in, kernel]`` or ``[out, in, kernel, kernel]``, bias ``[out]``."""

    stride: Shape
    padding: Shape
    dilation: Shape


@dataclass(frozen=True)
class Channelwise:
    """``y = scale * x + bias``, both ``[C]``: pixel normalisation, batch norm, or the weight of a branch."""

    scale: Array
    bias: Array

    def times(self, scale: Array, bias: Array) -> Channelwise:
        """Return this layer followed by another one."""
        return Channelwise(self.scale * scale, self.bias * scale + bias)


@dataclass(frozen=True)
class Pool:
    """An average pool, or with ``sums`` the sum over the same windows."""

    kernel: Pair
    stride: Pair
    padding: Pair
    sums: bool = False


@dataclass(frozen=True)
class Flat:
    """``[C,H,W] -> [C*H*W]``."""


@dataclass(frozen=True)
class Fire:
    """Neurons ``v <- leak * v + input`` that fire at ``v >= threshold``; the threshold broadcasts to their shape."""

    threshold: Array
    leak: float


Kind = End | Dense | Channelwise | Pool | Flat | Fire


@dataclass(frozen=True)
class Layer:
    """A layer, the names of the layers whose outputs it sums, and the shape of its output without the batch."""

    what: Kind
    inputs: tuple[str, ...]
    gives: Shape


Layers = Mapping[str, Layer]
"""Layers by name, each after the layers that it reads."""


def readers(layers: Layers, name: str) -> list[str]:
    """Return the names of the layers that read a layer."""
    return [other for other, layer in layers.items() if name in layer.inputs]


def absorb(layers: Layers) -> dict[str, Layer]:
    """Fold `Channelwise` layers into the weights before them, or behind them if they only multiply by one number."""
    left = dict(layers)
    for name in layers:
        what = left[name].what
        if isinstance(what, Channelwise) and not _backward(left, name, what):
            _forward(left, name, what)
    return left


def _backward(left: dict[str, Layer], name: str, what: Channelwise) -> bool:
    source = left[name].inputs[0]
    before = left[source].what
    if len(left[name].inputs) > 1 or readers(left, source) != [name] or not isinstance(before, Dense | Channelwise):
        return False
    left[source] = replace(left[source], what=before.times(what.scale, what.bias))
    _skip(left, name, source)
    return True


def _forward(left: dict[str, Layer], name: str, what: Channelwise) -> None:
    if len(left[name].inputs) > 1 or what.bias.any() or (what.scale != what.scale[0]).any():
        return
    ends = [_weights_behind(left, name, reader) for reader in readers(left, name)]
    if all(ends):
        for end in filter(None, ends):
            weights = left[end].what
            assert isinstance(weights, Dense)
            left[end] = replace(left[end], what=weights.after(float(what.scale[0])))
        _skip(left, name, left[name].inputs[0])


def _weights_behind(left: Layers, name: str, reader: str) -> str | None:
    """Return the weights that ``reader`` of ``name`` is, or is flattened for, if they read nothing else."""
    while isinstance(left[reader].what, Flat) and left[reader].inputs == (name,) and len(readers(left, reader)) == 1:
        name, (reader,) = reader, readers(left, reader)
    return reader if isinstance(left[reader].what, Dense) and left[reader].inputs == (name,) else None


def _skip(left: dict[str, Layer], name: str, source: str) -> None:
    """Remove a layer; its readers read ``source`` instead."""
    del left[name]
    for reader in readers(left, name):
        inputs = tuple(source if other == name else other for other in left[reader].inputs)
        left[reader] = replace(left[reader], inputs=inputs)
