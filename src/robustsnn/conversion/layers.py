"""What conversion does with each kind of layer: neurons for ReLU, what is kept, what is refused and with which remedy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from robustsnn.models import Normalize

KEPT_MODULES: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity, nn.Flatten, nn.Unflatten,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d,
    nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, Normalize,
)  # fmt: skip
MAX_POOLS: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
RELU_FUNCTIONS: set[Callable[..., Any]] = {F.relu, F.relu_, torch.relu, torch.relu_}
RELU_METHODS = {"relu", "relu_"}
KEPT_FUNCTIONS: set[Callable[..., Any]] = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv,
    operator.floordiv, operator.getitem, operator.neg, getattr, torch.add, torch.sub, torch.mul, torch.div,
    torch.cat, torch.concat, torch.concatenate, torch.stack, torch.chunk, torch.split, torch.flatten, torch.reshape,
    torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.mean, torch.sum, torch.matmul,
    F.conv1d, F.conv2d, F.conv3d, F.linear, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.group_norm, F.layer_norm,
    F.pad, F.interpolate, F.pixel_shuffle,
}  # fmt: skip
KEPT_METHODS = {
    "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "flatten", "view", "reshape", "permute", "transpose",
    "contiguous", "squeeze", "unsqueeze", "mean", "sum", "size", "dim", "chunk", "split", "expand", "to", "float", "type_as",
    "expand_as", "view_as",
}  # fmt: skip
DROPOUTS: dict[Callable[..., Any], type[nn.Module]] = {
    F.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d, F.dropout3d: nn.Dropout3d,
}  # fmt: skip
MAX_FUNCTIONS = {F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, torch.max_pool2d}


def judge_module(place: Any, module: nn.Module, allow: Collection[str]) -> str:
    """What becomes of a module. Raises ValueError: it cannot be converted; the line names it and the remedy."""
    if isinstance(module, nn.ReLU):
        return "spiking neurons"
    if isinstance(module, MAX_POOLS):
        _check_max_pool(f"layer {place!r} ({type(module).__name__})", allow)
        return "kept: max-pooling of spikes is their logical or"
    if isinstance(module, KEPT_MODULES):
        return "kept"
    raise ValueError(
        f"layer {place!r} ({type(module).__name__}) cannot be converted: a spiking neuron stands for ReLU only; "
        "replace it by nn.ReLU (or, if it is linear, by convolution, linear, norm or average pool) and train again"
    )


def judge_function(node: fx.Node, allow: Collection[str]) -> tuple[str, nn.Module | None]:
    """What becomes of an operation, and the module that takes its place, if any. Raises ValueError: it cannot be converted."""
    target: Any = node.target
    if target in RELU_METHODS if node.op == "call_method" else target in RELU_FUNCTIONS:
        return "spiking neurons, made a module from a functional activation", nn.ReLU()
    if node.op == "call_function" and target in DROPOUTS:
        arguments = dict(zip(("p",), node.args[1:2], strict=False)) | {k: v for k, v in node.kwargs.items() if k == "p"}
        return "kept: made a module from functional dropout", DROPOUTS[target](**arguments)
    if node.op == "call_function" and target in MAX_FUNCTIONS:
        _check_max_pool(f"{_name(target)} in {owner(node) or 'the network'}", allow)
    elif not (target in KEPT_METHODS if node.op == "call_method" else target in KEPT_FUNCTIONS):
        raise ValueError(
            f"operation {_name(target)} in module {owner(node)!r} cannot be converted: a spiking network is made of ReLU, "
            "convolutions, linears, norms, average pools, additions, concatenations and reshapes; express it by those"
        )
    return "kept", None


def _check_max_pool(what: str, allow: Collection[str]) -> None:
    if "max_pool" not in allow:
        raise ValueError(
            f"{what} is a max-pool, which loses the rate of spikes: use an average pool, or pass allow={{'max_pool'}} to "
            "keep it (the logical or of the spikes)"
        )


def owner(node: fx.Node) -> str:
    """The path of the module in whose forward pass a node stands."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))
