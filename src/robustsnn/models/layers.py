"""What all bodies share: normalisation as a layer, and initial weights from an explicit generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustsnn.compute import with_tensors
from robustsnn.seeds import generator
from robustsnn.types import Images, Logits

WIDEST, DEEPEST = 2**16, 2000
"""The most channels, pixels a side or classes, and layers, that a body may have: beyond, it is a mistake or an attack."""


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, so that everyone outside the network, attacks included, sees pixels in ``[0, 1]``.
    Raises ValueError: statistics of another length than the images' channels, or a standard deviation that is not positive."""

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
            raise ValueError(
                f"images must be [N, {len(self.mean)}, H, W] for this network, not {list(x.shape)}: "
                "give images with that many channels or build the network for yours"
            )
        return (x - self.mean) / self.std


class Body(nn.Module):
    """``normalize -> features -> classifier``: the shape of every body of this package."""

    def __init__(self, normalize: Normalize, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.normalize = normalize
        self.features = features
        self.classifier = classifier

    def forward(self, x: Images) -> Logits:
        return self.classifier(self.features(self.normalize(x)))  # type: ignore[no-any-return]


def normalization(classes: int, size: int, channels: int, mean: Sequence[float], std: Sequence[float]) -> Normalize:
    """The normalisation of a body, once its arguments make sense; single statistics hold for all channels. Raises ValueError:
    fewer than two classes, no channels or pixels, or statistics that do not fit the channels."""
    if classes < 2 or channels < 1 or size < 1:
        raise ValueError(f"a network needs classes >= 2, channels and size >= 1, not {classes}, {channels}, {size}")
    if max(classes, channels, size) > WIDEST:
        raise ValueError(f"classes, channels and size may be {WIDEST} at most, not {classes}, {channels}, {size}")
    mean, std = (tuple(values) * channels if len(values) == 1 else tuple(values) for values in (mean, std))
    if len(mean) != channels:
        raise ValueError(f"mean and std have {len(mean)} values for {channels} channels: give one per channel")
    return Normalize(mean, std)


def initialise(body: nn.Module, seed: int) -> None:
    """Draw initial weights that depend on the seed alone: Kaiming-normal fan-out convolutions, uniform linear layers."""
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
    """A number of channels times a width factor, at least 1. Raises ValueError: a width that is not positive."""
    if not width > 0:
        raise ValueError(f"width must be greater than 0, not {width}; 1 is the published size")
    if channels * width > WIDEST:
        raise ValueError(f"a layer may be {WIDEST} wide at most, not {channels} * {width:g}: use a smaller width")
    return max(1, round(channels * width))


WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def weight_layers(net: nn.Module) -> dict[str, WeightLayer]:
    """The convolutions and linear layers of a network by module path: those whose ``weight`` maps inputs to outputs."""
    return {name: module for name, module in net.named_modules() if isinstance(module, WeightLayer)}


def weight_of(layer: WeightLayer) -> Tensor:
    """Its weight as a forward pass would use it now, also where a hook computes it before every call."""
    for hook in layer._forward_pre_hooks.values():
        if "weight" in (getattr(hook, "name", None), getattr(hook, "_tensor_name", None)):
            hook(layer, ())
    return layer.weight


def baked(net: nn.Module) -> nn.Module:
    """A view whose convolutions and linear layers hold the weights that they would compute."""
    layers = weight_layers(net).items()
    return with_tensors(
        net, {f"{name}.weight": weight_of(layer).detach() for name, layer in layers if "weight" not in layer._parameters}
    )


def own_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    """Their weights, to be changed in place. Raises ValueError: a layer computes its weight, so that nothing would change."""
    found = {}
    for name, layer in weight_layers(net).items():
        weight = layer._parameters.get("weight")
        if weight is None:
            raise ValueError(
                f"layer {name!r} computes its weight from other tensors, which cannot be changed in place: call "
                "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') first (prune.remove, remove_weight_norm)"
            )
        found[name] = weight
    return found
