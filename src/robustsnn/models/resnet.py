"""ResNet bodies for small images, whose residual branches are mixed by two learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute.mixing import mixed
from robustsnn.models.layers import Body, layered, normalization, scaled


class Mix(nn.Module):
    """``comb[0] * shortcut + comb[1] * residual``: two weights per block, both 0.5 at first, trained with the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.comb = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, shortcut: Tensor, residual: Tensor) -> Tensor:
        given: Any = shortcut
        if not isinstance(given, Tensor):  # torch.fx, which is to see the equation
            return self.comb[0] * given + self.comb[1] * residual  # type: ignore[no-any-return]
        return mixed(self.comb, shortcut, residual)


class Block(nn.Module):
    """conv-bn-ReLU-conv-bn, mixed with the shortcut, then ReLU (He et al. 2016a). The shortcut is a 1x1 convolution with
    batch norm where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))
        self.convex = Mix()
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return self.act2(self.convex(self.shortcut(x), residual))  # type: ignore[no-any-return]


def resnet(
    depth: int,
    classes: int,
    size: int = 32,
    channels: int = 3,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    width: float = 1.0,
) -> Body:
    """A ResNet of three stages of 16, 32 and 64 channels (He et al. 2016a, section 4.2).

    Arguments:
        depth: ``6 n + 2`` layers for ``n`` blocks per stage; 20 and 32 are the published ones.
        classes, size, channels: number of classes, height (= width) and channels of the images.
        mean, std: normalisation of the pixels, one value per channel or one for all.
        width: factor on all channels.

    Raises:
        ValueError: a depth that is not ``6 n + 2``, or arguments out of range.
    """
    blocks = layered("ResNet", depth, rest=2)
    normalize = normalization(classes, size, channels, mean, std)
    stages = [scaled(c, width) for c in (16, 32, 64)]
    features: list[nn.Module] = [nn.Conv2d(channels, stages[0], 3, padding=1, bias=False)]
    features += [nn.BatchNorm2d(stages[0]), nn.ReLU()]
    inputs = stages[0]
    for stage, outputs in enumerate(stages):
        for block in range(blocks):
            features.append(Block(inputs, outputs, stride=2 if stage and not block else 1))
            inputs = outputs
    features.append(nn.AdaptiveAvgPool2d(1))
    return Body(normalize, nn.Sequential(*features), nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes)))
