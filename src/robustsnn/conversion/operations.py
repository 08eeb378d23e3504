"""One table of the operations in networks, which conversion, energy estimates and rescaling share."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import fx, nn

from robustsnn.models import MeanOverTime, Normalize
from robustsnn.models.layers import WeightLayer


@dataclass(frozen=True)
class Kind:
    """A group of similar operations.

    Arguments:
        name: common name.
        becomes: what conversion does with them.
        modules: layer types.
        calls: functions, and names of tensor methods.
    """

    name: str
    becomes: str
    modules: tuple[type[nn.Module], ...] = ()
    calls: frozenset[Any] = frozenset()


RELU = Kind(
    "ReLU",
    "spiking neurons; every use gets its own layer",
    (nn.ReLU,),
    frozenset({F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}),
)
CLAMPS: frozenset[Any] = frozenset({torch.clamp, torch.clamp_min, torch.clip, "clamp", "clamp_min", "clip"})
"""A ReLU if the lower bound is 0 and there is no upper bound."""

WEIGHTS = Kind(
    "convolutions and linear layers",
    "kept",
    get_args(WeightLayer),
    frozenset({
        F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
        operator.matmul, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum, torch.tensordot, "matmul", "mm", "bmm",
    }),
)  # fmt: skip
NORMS = Kind(
    "batch norms, and `Normalize`",
    "kept; running statistics are estimated again by default",
    (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, Normalize),
)
SAMPLE_NORMS = Kind(
    "per-sample norms",
    "kept, but not exact, since they normalise every time step separately: finetune",
    (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    frozenset({F.group_norm, F.layer_norm, F.rms_norm}),
)
POOLS = Kind(
    "average pools",
    "kept",
    (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    frozenset({F.avg_pool1d, F.avg_pool2d, F.avg_pool3d}),
)
MEANS = Kind(
    "means",
    "kept",
    (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    frozenset({F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, torch.mean, "mean"}),
)
SHAPES = Kind(
    "reshaping, permuting, slicing, padding",
    "kept",
    (
        MeanOverTime, nn.Flatten, nn.Unflatten, nn.Identity, nn.Unfold, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
        nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
        nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d, nn.ReplicationPad2d,
        nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d,
    ),
    frozenset({
        torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.swapaxes, torch.swapdims, torch.movedim,
        torch.squeeze, torch.unsqueeze, torch.chunk, torch.split, torch.narrow, torch.flip, torch.roll, torch.tile,
        torch.clone, torch.unbind, torch.index_select, torch.tensor_split, operator.getitem,
        F.unfold, F.pad, F.pixel_shuffle, F.pixel_unshuffle,
        "flatten", "unflatten", "view", "reshape", "permute", "transpose", "swapaxes", "swapdims", "movedim", "t",
        "squeeze", "unsqueeze", "chunk", "split", "narrow", "flip", "roll", "tile", "repeat", "clone", "unbind",
        "index_select", "tensor_split",
        "contiguous", "expand", "expand_as", "view_as", "to", "float", "type_as",
    }),
)  # fmt: skip
DROPOUTS = Kind(
    "dropout",
    "kept; no effect in eval mode",
    (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    frozenset({F.dropout, F.dropout1d, F.dropout2d, F.dropout3d}),
)
SUMS = Kind(
    "additions",
    "kept",
    calls=frozenset({
        operator.add, operator.iadd, operator.sub, operator.isub, operator.neg, torch.add, torch.sub, torch.neg,
        "add", "add_", "sub", "sub_", "neg",
    }),
)  # fmt: skip
JOINS = Kind(
    "concatenations",
    "kept",
    calls=frozenset({torch.cat, torch.concat, torch.concatenate, torch.stack, torch.hstack, torch.vstack}),
)
TOTALS = Kind("sums over an axis", "kept", calls=frozenset({torch.sum, "sum"}))
PRODUCTS = Kind(
    "products",
    "kept if at most one factor depends on activations",
    calls=frozenset({operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"}),
)
QUOTIENTS = Kind(
    "quotients",
    "kept if the divisor does not depend on activations",
    calls=frozenset({operator.truediv, operator.itruediv, torch.div, torch.divide, "div", "div_"}),
)
RESIZES = Kind("upsampling", "kept", (nn.Upsample,), frozenset({F.interpolate}))
SIZES = Kind(
    "shape queries",
    "kept",
    calls=frozenset({getattr, len, operator.floordiv, operator.mod, "size", "dim", "numel"}),
)
MAX_POOLS = Kind(
    "max-pools",
    "an error; with allow={'max_pool'} kept, as the logical OR of the spikes",
    (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    frozenset({F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, torch.max_pool2d}),
)

KINDS = (
    RELU,
    WEIGHTS,
    NORMS,
    SAMPLE_NORMS,
    POOLS,
    MEANS,
    SHAPES,
    DROPOUTS,
    SUMS,
    JOINS,
    TOTALS,
    PRODUCTS,
    QUOTIENTS,
    RESIZES,
    SIZES,
    MAX_POOLS,
)
"""All operations that conversion supports; it rejects any other."""
CALLS: frozenset[Any] = frozenset[Any]().union(CLAMPS, *(kind.calls for kind in KINDS))
LINEAR_IN_EACH = (WEIGHTS, PRODUCTS, QUOTIENTS)
"""Operations that must have at most one factor from spikes: otherwise they are products of spikes."""


def kind_of(node: fx.Node, module: nn.Module | None) -> Kind | None:
    """Return the kind of a step of a forward pass; None if conversion does not support it or it is not an operation."""
    if node.op == "call_module":
        return next((kind for kind in KINDS if isinstance(module, kind.modules)), None)
    if node.op not in ("call_function", "call_method"):
        return None
    if node.target in CLAMPS:
        low = node.kwargs.get("min", node.args[1] if len(node.args) > 1 else None)
        high = node.kwargs.get("max", node.args[2] if len(node.args) > 2 else None)
        return RELU if low == 0 and low is not None and high is None else None
    return next((kind for kind in KINDS if node.target in kind.calls), None)
