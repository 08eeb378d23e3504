"""What a torch module is, in the kinds of layer that other simulators know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.deploy.layers import Array, Channelwise, Conv, Dense, Fire, Flat, Kind, Pool, Shape
from robustsnn.models import Normalize
from robustsnn.spiking import NeuronLayer

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)  # those of `spiking.norm` are among them


def array(tensor: Tensor) -> Array:
    """A tensor as an array of its own."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _normalize(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    assert isinstance(module, Normalize)
    mean, std = array(module.mean).ravel(), array(module.std).ravel()
    return Channelwise(1 / std, -mean / std)


def _norm(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    assert isinstance(module, NORMS)
    if module.running_mean is None or module.running_var is None:
        raise ValueError(f"layer {path!r} normalises by the batch itself: let it keep running statistics")
    scale = 1 / torch.sqrt(module.running_var + module.eps)
    if module.weight is not None:
        scale = scale * module.weight
    bias = -module.running_mean * scale + (module.bias if module.bias is not None else 0)
    return Channelwise(array(scale), array(bias))


def _conv(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    assert isinstance(module, nn.Conv2d)
    weight, groups = array(module.weight), module.groups
    if module.padding_mode != "zeros" or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"layer {path!r}: NIR describes convolutions with square kernels and zero padding only")
    padding = module.padding
    if isinstance(padding, str):
        reach = [dilation * (weight.shape[2] - 1) for dilation in _pair(module.dilation)]
        if padding == "same" and any(r % 2 for r in reach):
            raise ValueError(f"layer {path!r} pads unevenly: give its padding in numbers")
        padding = (reach[0] // 2, reach[1] // 2) if padding == "same" else (0, 0)
    dense = np.zeros((weight.shape[0], weight.shape[1] * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):  # other simulators know no groups
        outs, ins = (slice(group * n // groups, (group + 1) * n // groups) for n in dense.shape[:2])
        dense[outs, ins] = weight[outs]
    bias = np.zeros(len(dense), dense.dtype) if module.bias is None else array(module.bias)
    return Conv(dense, bias, _pair(module.stride), _pair(padding), _pair(module.dilation))


def _dense(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    assert isinstance(module, nn.Linear)
    if len(takes) != 1:
        raise ValueError(f"layer {path!r} maps the last axis of {takes}: flatten before it")
    weight = array(module.weight)
    return Dense(weight, np.zeros(len(weight), weight.dtype) if module.bias is None else array(module.bias))


def pool(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    """An average pool.

    Raises:
        ValueError: windows that other simulators do not know.
    """
    if isinstance(module, nn.AdaptiveAvgPool2d):
        if takes[1] % gives[1] or takes[2] % gives[2]:
            raise ValueError(f"pool {path!r} takes windows of different sizes, {takes} to {gives}: let it divide evenly")
        kernel = takes[1] // gives[1], takes[2] // gives[2]
        return Pool(kernel, kernel, (0, 0))
    assert isinstance(module, nn.AvgPool2d)
    if module.ceil_mode or module.divisor_override or (_pair(module.padding) != (0, 0) and not module.count_include_pad):
        raise ValueError(f"pool {path!r} divides by other numbers at the border: leave its options as they are")
    return Pool(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding))


def _fire(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    assert isinstance(module, NeuronLayer)
    return Fire(array(module.threshold), module.dynamics.neuron.relayed(module.tensors).leak)


def _flat(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    if len(gives) != 1:
        raise ValueError(f"layer {path!r} flattens {takes} to {gives}: flatten to one axis")
    return Flat()


KINDS: dict[type[nn.Module] | tuple[type[nn.Module], ...], Callable[[str, nn.Module, Shape, Shape], Kind]] = {
    Normalize: _normalize,
    nn.Conv2d: _conv,
    nn.Linear: _dense,
    NORMS: _norm,
    (nn.AvgPool2d, nn.AdaptiveAvgPool2d): pool,
    nn.Flatten: _flat,
    NeuronLayer: _fire,
}
"""The layer that a module is: ``(path, module, shape taken, shape given) -> layer``."""
