"""Look-alikes of the ANNs that users bring, a few channels wide, from images [N, 3, 16, 16] to 4 logits; each says how many
activations it has and what conversion must be allowed for it. Written from scratch in the manner of each family."""

import torch
import torch.nn.functional as F
from torch import nn

from robustsnn.models import outside
from robustsnn.seeds import generator

CLASSES = 4
WIDTHS = (3, 4, 5, 6)


class PlainBlock(nn.Module):
    """As on many a desk: functional activations, an empty or a projecting shortcut."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class PlainResNet18(nn.Module):
    """For CIFAR: a 3x3 stem, four stages of two blocks, functional pooling and a view."""

    activations = 17
    allow = ()

    def __init__(self):
        super().__init__()
        self.in_planes = WIDTHS[0]
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._make_layer(width, stride) for width, stride in zip(WIDTHS, (1, 2, 2, 2), strict=True)
        )
        self.linear = nn.Linear(WIDTHS[-1], CLASSES)

    def _make_layer(self, width, stride):
        blocks = []
        for each in (stride, 1):
            blocks.append(PlainBlock(self.in_planes, width, each))
            self.in_planes = width
        return nn.Sequential(*blocks)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        out = F.avg_pool2d(out, 2)
        out = out.view(out.size(0), -1)
        return self.linear(out)


class VisionBlock(nn.Module):
    """As in torchvision: one in-place activation module for both places, ``downsample`` a module or None."""

    def __init__(self, inputs, width, stride, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x):
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class VisionResNet18(nn.Module):
    """With torchvision's names; without the max-pool in its stem."""

    activations = 17
    allow = ()

    def __init__(self):
        super().__init__()
        self.inplanes = WIDTHS[0]
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = self.stem_pool()
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._make_layer(width, stride) for width, stride in zip(WIDTHS, (1, 2, 2, 2), strict=True)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(WIDTHS[-1], CLASSES)

    def stem_pool(self):
        return nn.Identity()

    def _make_layer(self, width, stride):
        downsample = None
        if stride != 1 or self.inplanes != width:
            downsample = nn.Sequential(nn.Conv2d(self.inplanes, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        blocks = [VisionBlock(self.inplanes, width, stride, downsample), VisionBlock(width, width, 1, None)]
        self.inplanes = width
        return nn.Sequential(*blocks)

    def _forward_impl(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)

    def forward(self, x):
        return self._forward_impl(x)


class VisionResNet18MaxPool(VisionResNet18):
    """With the max-pool, as it is downloaded."""

    allow = ("max_pool",)

    def stem_pool(self):
        return nn.MaxPool2d(3, 2, 1)


class BenchBlock(nn.Module):
    """A pre-activation block as in RobustBench's wide residual networks."""

    def __init__(self, in_planes, out_planes, stride, dropRate):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, out_planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_planes)
        self.conv2 = nn.Conv2d(out_planes, out_planes, 3, 1, 1, bias=False)
        self.droprate = dropRate
        self.equalInOut = in_planes == out_planes
        self.convShortcut = (not self.equalInOut and nn.Conv2d(in_planes, out_planes, 1, stride, bias=False)) or None

    def forward(self, x):
        if not self.equalInOut:
            x = F.relu(self.bn1(x))
        else:
            out = F.relu(self.bn1(x))
        out = F.relu(self.bn2(self.conv1(out if self.equalInOut else x)))
        if self.droprate > 0:
            out = F.dropout(out, p=self.droprate, training=self.training)
        out = self.conv2(out)
        return torch.add(x if self.equalInOut else self.convShortcut(x), out)


class BenchStage(nn.Module):
    def __init__(self, depth, in_planes, out_planes, stride, dropRate):
        super().__init__()
        self.layer = nn.Sequential(
            *(BenchBlock(out_planes if i else in_planes, out_planes, 1 if i else stride, dropRate) for i in range(depth))
        )

    def forward(self, x):
        return self.layer(x)


class BenchWideResNet(nn.Module):
    """As in RobustBench: the images are normalised inside, by buffers."""

    activations = 13
    allow = ()

    def __init__(self, dropRate=0.0):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.25, 0.24, 0.26]).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, 3, 3, 1, 1, bias=False)
        self.block1 = BenchStage(2, 3, 4, 1, dropRate)
        self.block2 = BenchStage(2, 4, 5, 2, dropRate)
        self.block3 = BenchStage(2, 5, 6, 2, dropRate)
        self.bn1 = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, CLASSES)
        self.nChannels = 6

    def forward(self, x):
        x = (x - self.mean) / self.std
        out = self.conv1(x)
        out = self.block1(out)
        out = self.block2(out)
        out = self.block3(out)
        out = F.relu(self.bn1(out))
        out = F.avg_pool2d(out, 4)
        out = out.view(-1, self.nChannels)
        return self.fc(out)


class BenchWideResNetDropout(BenchWideResNet):
    """Trained with functional dropout."""

    def __init__(self):
        super().__init__(0.3)


class NormAct(nn.BatchNorm2d):
    """As in timm: a batch norm that writes its own forward pass out and holds what follows it."""

    def __init__(self, width, apply_act=True):
        super().__init__(width)
        self.drop = nn.Identity()
        self.act = nn.ReLU(inplace=True) if apply_act else nn.Identity()

    def forward(self, x):
        torch._assert(x.ndim == 4, f"expected 4D input (got {x.ndim}D input)")
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x,
            self.running_mean if not self.training or self.track_running_stats else None,
            self.running_var if not self.training or self.track_running_stats else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            self.momentum,
            self.eps,
        )
        return self.act(self.drop(x))


class ConvNormAct(nn.Module):
    def __init__(self, inputs, width, size, stride=1, apply_act=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, size, stride, size // 2, bias=False)
        self.bn = NormAct(width, apply_act)
        self.aa = None

    def forward(self, x):
        x = self.bn(self.conv(x))
        if self.aa is not None:
            x = self.aa(x)
        return x


class TimmBlock(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.shortcut = ConvNormAct(inputs, width, 1, stride, apply_act=False) if inputs != width else nn.Identity()
        self.conv1 = ConvNormAct(inputs, width, 3, stride)
        self.conv2 = ConvNormAct(width, width, 3, apply_act=False)
        self.attn = None
        self.drop_path = nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        shortcut = self.shortcut(x)
        x = self.conv2(self.conv1(x))
        if self.attn is not None:
            x = self.attn(x)
        x = self.drop_path(x) + shortcut
        return self.act(x)


class SelectPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)

    def is_identity(self):
        return not self.pool

    def forward(self, x):
        return self.flatten(self.pool(x))


class TimmHead(nn.Module):
    def __init__(self, inputs, drop_rate=0.0):
        super().__init__()
        self.drop_rate = drop_rate
        self.global_pool = SelectPool()
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x, pre_logits: bool = False):
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, p=float(self.drop_rate), training=self.training)
        return x if pre_logits else self.fc(x)


class TimmNet(nn.Module):
    """In the manner of timm: features and head apart, norms that hold their activation, a sequential stem."""

    activations = 8
    allow = ()

    def __init__(self):
        super().__init__()
        self.grad_checkpointing = False
        self.stem = nn.Sequential(ConvNormAct(3, 3, 3, 2), ConvNormAct(3, 4, 3))
        self.stages = nn.Sequential(TimmBlock(4, 4, 1), nn.Sequential(TimmBlock(4, 5, 2), TimmBlock(5, 5, 1)))
        self.norm = nn.Identity()
        self.head = TimmHead(5)

    def forward_features(self, x):
        x = self.stem(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            raise NotImplementedError
        x = self.stages(x)
        return self.norm(x)

    def forward_head(self, x, pre_logits: bool = False):
        return self.head(x, pre_logits=True) if pre_logits else self.head(x)

    def forward(self, x):
        x = self.forward_features(x)
        return self.forward_head(x)


class MeanInForward(nn.Module):
    """A small one that writes its normalisation out where it uses it."""

    activations = 1
    allow = ()

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, CLASSES)

    def normalised(self, x):
        return (x - torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1)) / 0.25

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(self.normalised(x)))).mean((2, 3)))


class MeanAsAttribute(MeanInForward):
    """The same, with the mean a tensor that no buffer holds."""

    def __init__(self):
        super().__init__()
        self.mu = torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1)

    def normalised(self, x):
        return (x - self.mu) / 0.25


LOOKALIKES = [
    *(PlainResNet18, VisionResNet18, VisionResNet18MaxPool),
    *(BenchWideResNet, BenchWideResNetDropout, TimmNet),
    *(MeanInForward, MeanAsAttribute),
]


def seen(make):
    """One in eval mode, with batch norms that have seen images; always the same."""
    ann = outside(f"lookalikes:{make.__name__}").train()
    for batch in torch.rand(3, 16, 3, 16, 16, generator=generator(0, "seen")):
        ann(batch)
    return ann.eval()
