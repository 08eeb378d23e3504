import pytest
import torch
from torch import nn

from robustsnn.compute.layout import layout
from robustsnn.models import create
from robustsnn.spiking import Dynamics, SpikingNetwork


@pytest.mark.parametrize(
    ("conv", "safe"),
    [
        (nn.Conv2d(6, 8, 1, 2), False),
        (nn.Conv2d(6, 8, 1), True),
        (nn.Conv2d(6, 8, 3, 2), True),
        (nn.Conv2d(16, 32, 1, 2), True),
    ],
    ids=str,
)
def test_channels_are_last_where_torch_can_bear_it(conv, safe):
    expected = torch.channels_last if safe else torch.contiguous_format
    net = SpikingNetwork(nn.Sequential(conv, nn.ReLU(), nn.Flatten()), Dynamics(2))
    assert layout(net) == expected
    assert net.channels_last == (expected == torch.channels_last)
    seen = []
    net.body[0].register_forward_pre_hook(lambda module, given: seen.append(given[0].stride()[1]))
    net(torch.rand(2, conv.in_channels, 4, 4))
    assert seen == [1 if safe else 16]


def test_bodies_of_this_package_run_channels_last():
    assert layout(create("resnet20", 10)) == layout(create("vgg11", 10)) == torch.channels_last
