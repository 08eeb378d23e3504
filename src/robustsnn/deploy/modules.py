"""What a torch module is, in the kinds of layer that other simulators know."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.deploy.layers import Array, Channelwise, Conv, Dense, Fire, Flat, Kind, Pool, Shape
from robustsnn.models import Normalize
from robustsnn.spiking import NeuronLayer


def layer_of(path: str, module: nn.Module, takes: Shape, gives: Shape) -> Kind:
    """The layer that a module is, which takes and gives these shapes, without the batch. Raises ValueError: other simulators
    do not know it."""
    match module:
        case Normalize():
            mean, std = array(module.mean).ravel(), array(module.std).ravel()
            return Channelwise(1 / std, -mean / std)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            if module.running_mean is None or module.running_var is None:
                raise ValueError(f"layer {path!r} normalises by the batch itself: let it keep running statistics")
            scale = 1 / torch.sqrt(module.running_var + module.eps)
            if module.weight is not None:
                scale = scale * module.weight
            return Channelwise(array(scale), array((0 if module.bias is None else module.bias) - module.running_mean * scale))
        case nn.Conv2d():
            return _conv(path, module)
        case nn.Linear():
            if len(takes) != 1:
                raise ValueError(f"layer {path!r} maps the last axis of {takes}: flatten before it")
            return Dense(array(module.weight), _bias(module))
        case nn.AdaptiveAvgPool2d():
            if takes[1] % gives[1] or takes[2] % gives[2]:
                raise ValueError(f"pool {path!r} takes windows of different sizes, {takes} to {gives}: let it divide evenly")
            kernel = takes[1] // gives[1], takes[2] // gives[2]
            return Pool(kernel, kernel, (0, 0))
        case nn.AvgPool2d():
            uneven = _pair(module.padding) != (0, 0) and not module.count_include_pad
            if module.ceil_mode or module.divisor_override or uneven:
                raise ValueError(f"pool {path!r} divides by other numbers at the border: leave its options as they are")
            return Pool(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding))
        case nn.Flatten():
            if len(gives) != 1:
                raise ValueError(f"layer {path!r} flattens {takes} to {gives}: flatten to one axis")
            return Flat()
        case NeuronLayer():
            return Fire(array(module.threshold), module.dynamics.neuron.relayed(module.tensors).leak)
    raise ValueError(
        f"layer {path!r} ({type(module).__name__}) cannot be exported: other simulators know convolutions, "
        "linear layers, norms behind them, average pools and neurons"
    )


def array(tensor: Tensor) -> Array:
    """A tensor as an array of its own."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _bias(module: nn.Conv2d | nn.Linear) -> Array:
    return array(module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias)


def _conv(path: str, module: nn.Conv2d) -> Conv:
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
    return Conv(dense, _bias(module), _pair(module.stride), _pair(padding), _pair(module.dilation))
