"""Plain ANN bodies. They know nothing of spikes: `robustsnn.convert` makes a spiking network of any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from robustsnn.models.layers import Normalize, initialise
from robustsnn.models.vgg import vgg
from robustsnn.names import find

MODELS: dict[str, Callable[..., nn.Module]] = {
    "vgg": vgg,
    "vggmini": partial(vgg, [8, "A", 16, 16, "A", 32], [64]),
    "digits": partial(vgg, [16, 16, "A", 32], [64]),
}


def create(
    name: str,
    classes: int,
    size: int = 32,
    channels: int = 3,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """An untrained ANN body by name; its weights depend on the arguments alone.

    Arguments:
        name: one of `MODELS`.
        classes, size, channels: what the images are like.
        mean, std: normalisation of pixels in ``[0, 1]``, built into the network.
        seed: of the initial weights.
        options: what else the architecture takes.

    Raises:
        ValueError: an unknown name or option, or a value out of range.

    >>> create("digits", classes=10, size=8, channels=1)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    architecture = find("model", MODELS, name)
    with torch.random.fork_rng(devices=[]):  # torch's constructors draw weights of their own: spare the caller's generator
        try:
            body = architecture(classes=classes, size=size, channels=channels, mean=mean, std=std, **options)
        except TypeError as error:
            raise ValueError(f"model {name!r}: {error}") from None
    initialise(body, seed)
    return body


__all__ = ["MODELS", "Normalize", "create", "vgg"]
