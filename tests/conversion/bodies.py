"""ANNs as people write them, from images [N, 2, 8, 8] to 4 logits; each says how many activations it has and whether a part
of it, up to the first ones, is the same at every step."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """Convolution, norm, convolution, linear: what comes between is each subclass's own."""

    begins_alike = True

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(64, 4)

    def head(self, x):
        return self.fc(F.avg_pool2d(x, 2).flatten(1))


class Modules(Net):
    activations = 2

    def __init__(self):
        super().__init__()
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.head(self.relu2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


class Functional(Net):
    activations = 2

    def forward(self, x):
        return self.head(torch.relu(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True))))


class Keyword(Net):
    activations = 2

    def forward(self, x):
        return self.head(F.relu(input=self.conv2(F.relu_(self.bn1(self.conv1(x))))))


class Methods(Net):
    activations = 2

    def forward(self, x):
        return self.head(self.conv2(self.bn1(self.conv1(x)).relu()).relu_())


class Reused(Net):
    activations = 3

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.head(self.relu(self.conv2(self.relu(self.conv2(x)))))


class Aliased(Net):
    """One activation module under two names."""

    activations = 2

    def __init__(self):
        super().__init__()
        self.relu1 = self.relu2 = nn.ReLU()

    def forward(self, x):
        return self.head(self.relu2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


class Twice(Net):
    """A block of one set of weights run twice, whose shortcut passes the image on."""

    activations = 4
    begins_alike = False

    def __init__(self):
        super().__init__()
        self.block = BasicBlock(4, 4, 1)

    def forward(self, x):
        return self.head(self.conv2(self.block(self.block(self.bn1(self.conv1(x))))))


class Dropped(Net):
    activations = 2

    def forward(self, x):
        x = F.dropout2d(F.relu(self.bn1(self.conv1(x))), 0.2, self.training)
        return self.head(F.dropout(F.relu(self.conv2(x)), p=0.5, training=self.training))


class BasicBlock(nn.Module):
    """As in torchvision: one activation module for both places, in-place addition."""

    def __init__(self, width, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride), nn.BatchNorm2d(out)) if stride > 1 else None

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class Residual(Net):
    activations = 5

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(BasicBlock(4, 4, 1), BasicBlock(4, 4, 2))
        self.pool = nn.AdaptiveAvgPool2d(4)

    def forward(self, x):
        x = self.pool(self.conv2(self.layers(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.view(x.size(0), -1))


class Mixed(Net):
    """The two branches of a block weighted by learned numbers."""

    activations = 3

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.tensor([0.5, 0.5]))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.head(F.relu(self.mix[0] * x + self.mix[1] * self.conv2(F.relu(self.conv2(x)))))


class Dense(Net):
    """Norm, activation, convolution, and the input joined to the output, as in DenseNet."""

    activations = 3
    begins_alike = False

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(10)])
        self.conv3, self.fc = nn.Conv2d(8, 2, 3, padding=1), nn.Linear(10, 4)

    def forward(self, x):
        x = self.conv1(x)
        x = torch.cat([x, self.conv2(F.relu(self.bn1(x)))], 1)
        x = torch.cat([x, self.conv3(F.relu(self.norms[0](x)))], 1)
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.norms[1](x)), 1).flatten(1))


class FromInput(Net):
    """The raw image is added behind the first neurons: nothing but the image itself is the same at every step."""

    activations = 2
    begins_alike = False

    def forward(self, x):
        hidden = F.relu(self.bn1(self.conv1(x)))
        return self.head(F.relu(self.conv2(hidden) + torch.cat([x, x], 1)))


class InputsReadAgain(Net):
    """An in-place activation whose input is read once more: what is added is the activated value."""

    activations = 2

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        return self.head(F.relu(self.conv2(self.relu(x)) + x))


class Spare(Net):
    """A head for training only, and a buffer that is not saved."""

    activations = 1

    def __init__(self):
        super().__init__()
        self.auxiliary = nn.Linear(64, 4)
        self.register_buffer("gain", torch.tensor(2.0), persistent=False)

    def forward(self, x):
        return self.head(self.conv2(F.relu(self.bn1(self.conv1(x)) * self.gain)))


BODIES = [
    *(Modules, Functional, Keyword, Methods, Reused, Aliased, Twice, Dropped, Residual, Mixed, Dense),
    *(FromInput, InputsReadAgain, Spare),
]


def trained(body):
    """The body in eval mode, with batch norms that have seen images."""
    made = body().train()
    for _ in range(3):
        made(torch.rand(16, 2, 8, 8))
    return made.eval()
