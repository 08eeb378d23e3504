"""Wide ResNet bodies (pre-activation), whose residual branches are mixed by two learned weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from robustsnn.models.layers import Body, layered, normalization, scaled
from robustsnn.models.resnet import Mix


class PreactivationBlock(nn.Module):
    """bn-ReLU-conv-bn-ReLU-conv, mixed with the shortcut (Zagoruyko & Komodakis 2016).

    Where shapes change, the shortcut is a 1x1 convolution of the first activation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.act1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None
        self.convex = Mix()

    def forward(self, x: Tensor) -> Tensor:
        activated = self.act1(self.bn1(x))
        residual = self.conv2(self.act2(self.bn2(self.conv1(activated))))
        return self.convex(x if self.shortcut is None else self.shortcut(activated), residual)  # type: ignore[no-any-return]


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
    """A WideResNet of three stages of ``16, 32, 64`` times ``widen`` channels.

    Arguments:
        depth: ``6 n + 4`` layers for ``n`` blocks per stage.
        widen: the widening factor of its name, as in WideResNet-16-4.
        classes, size, channels: number of classes, height (= width) and channels of the images.
        mean, std: normalisation of the pixels, one value per channel or one for all.
        width: factor on all channels, for smaller versions.

    Raises:
        ValueError: a depth that is not ``6 n + 4``, or arguments out of range.
    """
    blocks = layered("WideResNet", depth, rest=4)
    normalize = normalization(classes, size, channels, mean, std)
    inputs = scaled(16, width)
    features: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, padding=1, bias=False)]
    for stage, base in enumerate((16, 32, 64)):
        outputs = scaled(base * widen, width)
        for block in range(blocks):
            features.append(PreactivationBlock(inputs, outputs, stride=2 if stage and not block else 1))
            inputs = outputs
    features += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return Body(normalize, nn.Sequential(*features), nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes)))
