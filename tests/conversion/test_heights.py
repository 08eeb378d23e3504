"""Activations of height 1: a staircase with many levels computes what the ANN does, whatever stands between activations."""

import inspect

import bodies
import pytest
import torch
from torch import nn

from robustsnn.conversion import staircase, trace
from robustsnn.conversion.heights import heights_of, scaled
from robustsnn.models import QCFS, create

NETS = [kind for kind in vars(bodies).values() if inspect.isclass(kind) and hasattr(kind, "activations")]
NETS.remove(bodies.Twice)  # its one block receives images, then activations
IMAGES = torch.rand(12, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(net):
    """A network whose batch norms have seen images and whose biases are not 0."""
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -0.3, 0.3)
    net.train()(IMAGES)
    return net.eval()


class Summed(nn.Module):
    """Two activations that are added, and joined, with no weights in between."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 4))

    def forward(self, x):
        one, two = self.one(x).relu(), (3 * self.two(x)).relu()
        return self.head(torch.cat([one + two, one], 1))


class Shared(nn.Module):
    """One layer that works twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(128, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.again(self.again(self.first(x.flatten(1)).relu()).relu()).relu())


class Preactivated(nn.Module):
    """Norms behind activations."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.GroupNorm(2, 4),
            nn.Flatten(), nn.Linear(64, 4),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def of_the_zoo(name, **options):
    return lambda: create(name, classes=4, size=8, channels=2, mean=[0.4], std=[0.2], **options)


NETS += [Summed, Shared, Preactivated]
NETS += [of_the_zoo("digits"), of_the_zoo("resnet20", width=0.25), of_the_zoo("wideresnet16_4", width=0.05)]


@pytest.mark.parametrize("make", NETS, ids=lambda make: getattr(make, "__name__", "body"))
def test_many_levels_are_the_ann(make):
    ann = trained(make())
    before = {name: tensor.clone() for name, tensor in ann.state_dict().items()}
    climbing = staircase(ann, [IMAGES], 2**14, 100.0)
    assert any(isinstance(module, QCFS) for module in climbing.modules())
    expected, found = ann(IMAGES), climbing(IMAGES)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3 * float(expected.detach().abs().max()))
    assert all(torch.equal(before[name], tensor) for name, tensor in ann.state_dict().items())


def test_a_few_levels_are_not():
    ann = trained(bodies.Modules())
    assert not torch.allclose(staircase(ann, [IMAGES], 2)(IMAGES), ann(IMAGES), rtol=1e-2)


def test_activations_that_are_added_share_the_larger_height():
    body, _ = trace(trained(Summed()))
    heights = heights_of(body, [IMAGES], 100.0)
    found = scaled(body, heights)
    assert set(found.heights.values()) == {max(heights.values())}
    assert len(set(heights.values())) == 2


class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, 4)

    def forward(self, x):
        return self.layer(x.flatten(1)).relu()


class Tied(Shared):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(16, 16)
        self.other.weight = self.again.weight

    def forward(self, x):
        return self.head(self.other(self.again(self.first(x.flatten(1)).relu()).relu()).relu())


@pytest.mark.parametrize(
    ("kind", "what"), [(Logits, "the output needs"), (Tied, "shares its weights"), (bodies.Twice, "is used in several places")]
)
def test_what_cannot_be_scaled_is_refused_with_the_remedy(kind, what):
    with pytest.raises(ValueError, match=rf"{what}.*batch_norm='reestimate'"):
        staircase(trained(kind()), [IMAGES], 8)
