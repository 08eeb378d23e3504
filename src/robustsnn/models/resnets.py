"""ResNets and pre-activation Wide ResNets for small images, with two learned mixing weights per residual block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute.mixing import mixed
from robustsnn.models.layers import DEEPEST, Body, normalization, scaled


class Mix(nn.Module):
    """``comb[0] * shortcut + comb[1] * residual`` with two trained weights, both initially 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.comb = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, shortcut: Tensor, residual: Tensor) -> Tensor:
        given: Any = shortcut
        if not isinstance(given, Tensor):  # torch.fx must trace the equation
            return self.comb[0] * given + self.comb[1] * residual  # type: ignore[no-any-return]
        return mixed(self.comb, shortcut, residual)


class Residual(nn.Module):
    """The layers that both kinds of block share. The first batch norm has ``first`` channels. If shapes change, the
    shortcut is a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(first), nn.BatchNorm2d(outputs)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convex = Mix()
        changes = stride != 1 or inputs != outputs
        self.shortcut: Any = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None


class Block(Residual):
    """conv-bn-ReLU-conv-bn, mixed with the shortcut, then ReLU (He et al. 2016a). A shortcut that changes shapes has a
    batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride, first=outputs)
        self.shortcut = nn.Sequential(*([self.shortcut, nn.BatchNorm2d(outputs)] if self.shortcut else []))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return self.act2(self.convex(self.shortcut(x), residual))  # type: ignore[no-any-return]


class PreactivationBlock(Residual):
    """bn-ReLU-conv-bn-ReLU-conv, mixed with the shortcut (Zagoruyko & Komodakis 2016). A shortcut that changes
    shapes starts from the first activation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride, first=inputs)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.act1(self.bn1(x))
        residual = self.conv2(self.act2(self.bn2(self.conv1(activated))))
        return self.convex(x if self.shortcut is None else self.shortcut(activated), residual)  # type: ignore[no-any-return]


def resnet(
    depth: int,
    classes: int,
    size: int = 32,
    channels: int = 3,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    width: float = 1.0,
) -> Body:
    """Return a ResNet with three stages of 16, 32 and 64 channels (He et al. 2016a, section 4.2).

    Arguments:
        depth: ``6 n + 2`` layers for ``n`` blocks per stage; the published depths include 20 and 32.
        classes, size, channels: number of classes, height (= width) and channels of the images.
        mean, std: normalisation of the pixels, one value per channel or one for all.
        width: factor on all channels.

    Raises:
        ValueError: the depth is not ``6 n + 2``, or an argument is out of range.
    """
    normalize, stages = normalization(classes, size, channels, mean, std), [scaled(c, width) for c in (16, 32, 64)]
    stem = [nn.Conv2d(channels, stages[0], 3, padding=1, bias=False), nn.BatchNorm2d(stages[0]), nn.ReLU()]
    blocks = _blocks(Block, stages[0], stages, "ResNet", depth, rest=2)
    features = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1))
    return Body(normalize, features, nn.Sequential(nn.Flatten(), nn.Linear(stages[-1], classes)))


def wideresnet(
    depth: int,
    widen: int,
    classes: int,
    size: int = 32,
    channels: int = 3,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    width: float = 1.0,
) -> Body:
    """Return a WideResNet with three stages of ``16, 32, 64`` times ``widen`` channels.

    Arguments:
        depth: ``6 n + 4`` layers for ``n`` blocks per stage.
        widen: widening factor, as 4 in WideResNet-16-4.
        others: as for `resnet`.

    Raises:
        ValueError: the depth is not ``6 n + 4``, or an argument is out of range.
    """
    normalize, stages = normalization(classes, size, channels, mean, std), [scaled(c * widen, width) for c in (16, 32, 64)]
    first, last = scaled(16, width), stages[-1]
    stem = nn.Conv2d(channels, first, 3, padding=1, bias=False)
    blocks = _blocks(PreactivationBlock, first, stages, "WideResNet", depth, rest=4)
    features = nn.Sequential(stem, *blocks, nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return Body(normalize, features, nn.Sequential(nn.Flatten(), nn.Linear(last, classes)))


def _blocks(
    kind: type[Block] | type[PreactivationBlock], inputs: int, stages: Sequence[int], what: str, depth: int, rest: int
) -> list[nn.Module]:
    """Return the blocks of a residual network with ``6 n + rest`` layers, n per stage; later stages start with stride 2."""
    if not 6 + rest <= depth <= DEEPEST or (depth - rest) % 6:
        fits = ", ".join(str(6 * n + rest) for n in (1, 2, 3, 5))
        raise ValueError(f"depth of a {what} must be 6 n + {rest} ({fits}, ...) and at most {DEEPEST}, not {depth}")
    blocks: list[nn.Module] = []
    for stage, outputs in enumerate(stages):
        for i in range((depth - rest) // 6):
            blocks.append(kind(inputs, outputs, stride=2 if stage and not i else 1))
            inputs = outputs
    return blocks
