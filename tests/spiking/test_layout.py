import pytest
import torch
from torch import nn

from robustsnn.models import create
from robustsnn.spiking import Dynamics, SpikingNetwork
from robustsnn.spiking.layout import layout


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
    net = nn.Sequential(conv, nn.ReLU())
    assert layout(net) == expected
    seen = []
    spiking = SpikingNetwork(net, Dynamics(2))
    spiking.body[0].register_forward_pre_hook(lambda module, x: seen.append(x[0].is_contiguous(memory_format=expected)))
    spiking.body(spiking_input(spiking, torch.rand(2, conv.in_channels, 4, 4)))
    assert seen == [True]


def spiking_input(net, x):
    """What the body is given."""
    return x.contiguous(memory_format=net.memory_format).expand(2, *x.shape).flatten(0, 1)


def test_bodies_of_this_package_run_channels_last():
    assert layout(create("resnet20", 10)) == layout(create("vgg11", 10)) == torch.channels_last
