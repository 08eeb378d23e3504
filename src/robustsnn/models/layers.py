"""Parts that all bodies share: normalisation as a layer, and initial weights from an explicit generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustsnn.compute import with_tensors
from robustsnn.seeds import generator
from robustsnn.types import Images, Logits

WIDEST, DEEPEST = 2**16, 2000
"""Largest number of channels, pixels per side or classes, and of layers, in a body: larger values are mistakes or attacks."""


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, so that code outside the network, attacks included, sees pixels in ``[0, 1]``. Raises
    ValueError if mean and std differ in length or a standard deviation is not positive."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or not all(s > 0 for s in std):
            raise ValueError(f"normalisation needs one mean and one std > 0 per channel, not mean={mean}, std={std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Images) -> Images:
        if x.dim() != 4 or x.shape[1] != len(self.mean):
            other = "build it with models.create(..., frames=True)" if x.dim() == 5 else "build the network for yours"
            raise ValueError(
                f"images must be [N, {len(self.mean)}, H, W] for this network, not {list(x.shape)}: "
                f"use images with that many channels, or {other}"
            )
        return (x - self.mean) / self.std


class Body(nn.Module):
    """``normalize -> features -> classifier``, after ``frames`` if any: the structure of every body in this package."""

    frames: nn.Module | None

    def __init__(self, normalize: Normalize, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.frames = None
        self.normalize = normalize
        self.features = features
        self.classifier = classifier

    def forward(self, x: Images) -> Logits:
        if self.frames is not None:
            x = self.frames(x)
        return self.classifier(self.features(self.normalize(x)))  # type: ignore[no-any-return]


def normalization(classes: int, size: int, channels: int, mean: Sequence[float], std: Sequence[float]) -> Normalize:
    """Return the normalisation of a body; single statistics apply to all channels. Raises ValueError for fewer than two
    classes, no channels or pixels, or statistics that do not match the channels."""
    if classes < 2 or channels < 1 or size < 1:
        raise ValueError(f"a network needs classes >= 2, channels and size >= 1, not {classes}, {channels}, {size}")
    if max(classes, channels, size) > WIDEST:
        raise ValueError(f"classes, channels and size may be {WIDEST} at most, not {classes}, {channels}, {size}")
    mean, std = (tuple(values) * channels if len(values) == 1 else tuple(values) for values in (mean, std))
    if len(mean) != channels:
        raise ValueError(f"mean and std have {len(mean)} values for {channels} channels: give one per channel")
    return Normalize(mean, std)


def initialise(body: nn.Module, seed: int) -> None:
    """Set initial weights from the seed: Kaiming-normal (fan-out) convolutions, uniform linear layers."""
    rng = generator(seed, "initial weights")
    for module in body.modules():
        if any(weight.is_meta for weight in module.parameters(recurse=False)):
            continue  # drawing on the meta device does nothing, but imports torch's compiler, which takes a second
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=rng)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=rng)


def scaled(channels: int, width: float) -> int:
    """Return ``channels * width``, at least 1. Raises ValueError if the width is not positive or too large."""
    if not width > 0:
        raise ValueError(f"width must be greater than 0, not {width}; the published size is 1")
    if channels * width > WIDEST:
        raise ValueError(f"a layer may be {WIDEST} wide at most, not {channels} * {width:g}: use a smaller width")
    return max(1, round(channels * width))


WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def weight_layers(net: nn.Module) -> dict[str, WeightLayer]:
    """Return the convolutions and linear layers of a network, by module path."""
    return {name: module for name, module in net.named_modules() if isinstance(module, WeightLayer)}


def weight_of(layer: WeightLayer) -> Tensor:
    """Return a layer's weight as the next forward pass would use it, also if a hook computes it."""
    for hook in layer._forward_pre_hooks.values():
        if "weight" in (getattr(hook, "name", None), getattr(hook, "_tensor_name", None)):
            hook(layer, ())
    return layer.weight


def baked(net: nn.Module) -> nn.Module:
    """Return a view whose convolutions and linear layers store the weights that they would compute."""
    layers = weight_layers(net).items()
    return with_tensors(
        net, {f"{name}.weight": weight_of(layer).detach() for name, layer in layers if "weight" not in layer._parameters}
    )


def own_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers, to change in place. Raises ValueError if one is computed."""
    found = {}
    for name, layer in weight_layers(net).items():
        weight = layer._parameters.get("weight")
        if weight is None:
            raise ValueError(
                f"layer {name!r} computes its weight from other tensors, so it cannot be changed in place: call "
                "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') first (prune.remove, remove_weight_norm)"
            )
        found[name] = weight
    return found
