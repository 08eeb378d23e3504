"""Segments are computed again on the way back: same gradients and statistics to the bit, less memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn.compute.recall import graph_bytes
from robustsnn.compute.recompute import recomputing
from robustsnn.conversion import folded, spiking
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics

Y = torch.tensor([0, 1, 2, 3, 0, 1])


def images():
    return torch.rand(6, 3, 8, 8, generator=generator(0, "recompute"))


def network(kind):
    ann = create("resnet20", 4, size=8, width=0.25) if kind == "resnet" else create("vgg11", 4, size=16, width=0.05)
    return spiking(ann.eval(), x_for(kind), Dynamics(3), threshold=0.2).train()


def x_for(kind):
    return images() if kind == "resnet" else F.interpolate(images(), 16)


def step(net, view, x):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # dropout
        loss = F.cross_entropy(view(x), Y) + view(x.flip(3)).square().mean()
        gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return [gradient for gradient in gradients if gradient is not None], [buffer.clone() for buffer in net.buffers()]


@pytest.mark.parametrize("kind", ["resnet", "vgg"])
def test_gradients_and_statistics_are_those_of_a_graph_that_keeps_everything(kind):
    x, reference, net = x_for(kind), network(kind), network(kind)
    for expected, found in zip(step(reference, reference, x), step(net, recomputing(net), x), strict=True):
        assert len(expected) == len(found)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_graph_that_is_kept_can_be_gone_back_through_twice():
    net = network("resnet")
    loss, parameters = recomputing(net)(images()).square().mean(), list(net.parameters())
    before = [buffer.clone() for buffer in net.buffers()]
    once, twice = (torch.autograd.grad(loss, parameters, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))


def test_less_is_kept():
    net, x = network("resnet"), images()
    assert graph_bytes(recomputing(net), x) < 0.6 * graph_bytes(net, x)


def test_the_network_stays_as_it_is(unchanged):
    net = network("resnet")
    with unchanged(net):
        view = recomputing(net)
    assert {name: id(tensor) for name, tensor in view.state_dict(keep_vars=True).items()} == {
        name: id(tensor) for name, tensor in net.state_dict(keep_vars=True).items()
    }


def test_attacks_may_fold_the_view():
    net, x = network("resnet"), images()
    torch.testing.assert_close(folded(recomputing(net))(x), folded(net)(x))


def test_a_body_without_a_sequence_is_refused():
    with pytest.raises(ValueError, match="smaller batches"):
        recomputing(nn.Linear(2, 2))
