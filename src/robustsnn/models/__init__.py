"""ANN bodies without spikes, which `robustsnn.convert` can convert to spiking networks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from robustsnn.models.events import Clip, Denoise, MeanOverTime
from robustsnn.models.factories import outside
from robustsnn.models.layers import Body, Normalize, baked, initialise, own_weights, weight_layers, weight_of
from robustsnn.models.qcfs import QCFS
from robustsnn.models.resnets import resnet, wideresnet
from robustsnn.models.vggs import Plan, vgg
from robustsnn.names import build, find, nearest
from robustsnn.seeds import randomness

VGG11: Plan = (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512)
VGG16: Plan = (64, 64, "A", 128, 128, "A", 256, 256, 256, "A", 512, 512, 512, "A", 512, 512, 512, "A")
VGG11_64: Plan = (64, "A", 128, "A", 256, 256, "A", 512, 512, "A", 512, 512, "G")

MODELS: dict[str, Callable[..., Body]] = {
    "vgg": vgg,
    "vggmini": partial(vgg, (8, "A", 16, 16, "A", 32), (64,)),
    "digits": partial(vgg, (16, 16, "A", 32), (64,)),
    "vgg11": partial(vgg, VGG11, (4096, 4096), dropout=0.2),
    "vgg16": partial(vgg, VGG16, (4096, 4096), dropout=0.2),
    "vgg11_64": partial(vgg, VGG11_64, (4096,), dropout=0.2),
    "resnet20": partial(resnet, 20),
    "resnet32": partial(resnet, 32),
    "wideresnet16_4": partial(wideresnet, 16, 4),
    "wideresnet28_2": partial(wideresnet, 28, 2),
    "wideresnet28_4": partial(wideresnet, 28, 4),
}
"""Architectures by name; each takes classes, size, channels, mean, std, width and its own options."""

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {"ReLU": nn.ReLU, "QCFS": QCFS}
"""Activations that a body can have."""


def create(
    name: str,
    classes: int,
    size: int = 32,
    channels: int = 3,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    seed: int = 0,
    activation: str = "ReLU()",
    frames: bool = False,
    **options: Any,
) -> nn.Module:
    """Create an untrained ANN body by name; its weights depend only on the arguments.

    Arguments:
        name: one of `MODELS`.
        classes, size, channels: number of classes, height (= width) and channels of the images.
        mean, std: normalisation of pixels in ``[0, 1]``, part of the network.
        seed: of the initial weights.
        activation: used in every activation slot, such as ``"QCFS(levels=4)"``.
        frames: put `MeanOverTime` first, so the network takes frames ``[N,T,C,H,W]`` of an event camera.
        options: further options of the architecture.

    Raises:
        ValueError: a name or option is unknown, or a value is out of range.

    >>> import torch
    >>> create("digits", classes=10, size=8, channels=1)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    architecture = find("model", MODELS, name)
    known = inspect.signature(architecture).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for option in options:
        if option not in known and not takes_any:
            raise ValueError(f"model {name!r} has no option {option!r}: {nearest(option, known)}")
    with randomness(seed, "initial weights"):  # torch's constructors draw weights of their own
        try:
            body = architecture(classes=classes, size=size, channels=channels, mean=mean, std=std, **options)
        except TypeError as error:
            raise ValueError(f"model {name!r}: {error}") from None
    if frames:
        body.frames = MeanOverTime()
    for module in list(body.modules()):
        for slot, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, slot, build("activation", ACTIVATIONS, activation))
    initialise(body, seed)
    return body


__all__ = [
    "ACTIVATIONS",
    "MODELS",
    "QCFS",
    "Clip",
    "Denoise",
    "MeanOverTime",
    "Normalize",
    "baked",
    "create",
    "outside",
    "own_weights",
    "resnet",
    "vgg",
    "weight_layers",
    "weight_of",
    "wideresnet",
]
