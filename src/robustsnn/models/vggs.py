"""VGG bodies: convolutions with batch norm and ReLU, average pools, and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from robustsnn.models.layers import Body, normalization, scaled

Plan = Sequence[int | Literal["A", "G"]]


def vgg(
    plan: Plan,
    hidden: Sequence[int],
    classes: int,
    size: int = 32,
    channels: int = 3,
    dropout: float = 0.0,
    conv_bias: bool = False,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    width: float = 1.0,
) -> Body:
    """Return a VGG: 3x3 convolutions by channels, average pools (``"A"``: 2x2, ``"G"``: global), linear layers.

    Arguments:
        plan: channels of each convolution, and 2x2 (``"A"``) or global (``"G"``) average pools.
        hidden: widths of the linear layers before the last one.
        classes, size, channels: number of classes, height (= width) and channels of the images.
        dropout: probability after every hidden linear layer.
        conv_bias: whether convolutions have a bias, which batch norm makes redundant.
        mean, std: normalisation of the pixels, one value per channel or one for all.
        width: factor on all channels and hidden widths.

    Raises:
        ValueError: the plan has entries other than positive channels, "A" and "G", or more pools than the size allows.

    >>> vgg([8, "A", 16], [32], classes=10, size=8, channels=1).classifier[1]
    Linear(in_features=256, out_features=32, bias=True)
    """
    normalize = normalization(classes, size, channels, mean, std)
    features: list[nn.Module] = []
    for entry in plan:
        if entry == "A":
            size //= 2
            if size < 1:
                raise ValueError(f"plan {list(plan)} pools more often than the images' size allows: remove an 'A'")
            features.append(nn.AvgPool2d(2))
        elif entry == "G":
            size = 1
            features.append(nn.AdaptiveAvgPool2d(1))
        elif isinstance(entry, int) and entry > 0:
            out = scaled(entry, width)
            features += [nn.Conv2d(channels, out, 3, padding=1, bias=conv_bias), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        else:
            raise ValueError(f"plan entry {entry!r} is neither a positive number of channels nor 'A' or 'G' (average pools)")
    if any(not isinstance(units, int) or units < 1 for units in hidden):
        raise ValueError(f"hidden widths must be whole numbers of at least 1, not {list(hidden)}")
    classifier: list[nn.Module] = [nn.Flatten()]
    inputs = channels * size * size
    for units in (scaled(h, width) for h in hidden):
        classifier += [nn.Linear(inputs, units), nn.ReLU()] + ([nn.Dropout(dropout)] if dropout else [])
        inputs = units
    classifier.append(nn.Linear(inputs, classes))
    return Body(normalize, nn.Sequential(*features), nn.Sequential(*classifier))
