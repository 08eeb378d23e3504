"""The published architectures: their sizes as the literature counts them, and what a width does to them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from robustsnn.conversion import spiking
from robustsnn.models import MODELS, create, resnet, wideresnet
from robustsnn.models.resnets import Mix
from robustsnn.spiking import Dynamics

PUBLISHED = {  # 10 classes; residual networks with 1x1 shortcuts, without the two mixing weights of each block
    "resnet20": 272_474,
    "resnet32": 466_906,
    "wideresnet16_4": 2_748_890,
    "wideresnet28_2": 1_467_610,
    "wideresnet28_4": 5_849_050,
}
SIZES = {name: 64 if name.endswith("_64") else 32 for name in MODELS if name not in ("vgg", "digits", "vggmini")}


def count(net):
    mixing = sum(module.comb.numel() for module in net.modules() if isinstance(module, Mix))
    return sum(parameter.numel() for parameter in net.parameters()) - mixing


def vgg_count(convolutions, linears):
    """Convolutions of 3x3 without bias, batch norm behind each; linear layers with bias."""
    conv = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(convolutions))
    return conv + sum(a * b + b for a, b in itertools.pairwise(linears))


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_residual_networks_have_their_published_size(name, expected):
    assert count(create(name, 10)) == expected


@pytest.mark.parametrize(
    ("name", "convolutions", "linears"),
    [
        ("vgg11", (3, 64, 128, 256, 512, 512, 512, 512, 512), (8192, 4096, 4096, 10)),
        ("vgg16", (3, 64, 64, 128, 128, 256, 256, 256, *(512,) * 6), (512, 4096, 4096, 10)),
        ("vgg11_64", (3, 64, 128, 256, 256, 512, 512, 512, 512), (512, 4096, 10)),
    ],
)
def test_vggs_have_the_layers_of_the_paper(name, convolutions, linears):
    net = create(name, 10, SIZES[name])
    assert count(net) == vgg_count(convolutions, linears)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.2] * (len(linears) - 2)


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_a_narrow_one_maps_images_to_logits_as_ann_and_as_spiking_network(name, size):
    net = create(name, 7, size, width=0.125).eval()
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert net(x).shape == (2, 7)
    assert spiking(net, x, Dynamics(2)).steps(x).shape == (2, 2, 7)
    assert count(net) < count(create(name, 7, size)) / 20


@pytest.mark.parametrize("name", PUBLISHED)
def test_branches_are_mixed_half_and_half_at_first(name):
    mixes = [module.comb for module in create(name, 10, width=0.25).modules() if isinstance(module, Mix)]
    assert len(mixes) == {"resnet20": 9, "resnet32": 15, "wideresnet16_4": 6}.get(name, 12)
    assert all(comb.tolist() == [0.5, 0.5] for comb in mixes)


def test_no_convolution_before_a_batch_norm_has_a_bias():
    for name, size in SIZES.items():
        net = create(name, 10, size, width=0.125)
        assert all(module.bias is None for module in net.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize(("make", "depth"), [(resnet, 18), (resnet, 2), (wideresnet, 20), (wideresnet, 4)])
def test_a_depth_that_cannot_be_is_refused(make, depth):
    arguments = (depth, 4, 10) if make is wideresnet else (depth, 10)
    with pytest.raises(ValueError, match="depth"):
        make(*arguments)
