"""Spikes and currents are computed again on the way back: gradients stay the same to the bit, and nothing keeps them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from robustsnn.compute.norm import BatchNorm2d
from robustsnn.compute.recall import graph_bytes
from robustsnn.compute.recompute import recomputing
from robustsnn.conversion import spiking
from robustsnn.models import create
from robustsnn.spiking import Dynamics
from robustsnn.spiking.network import nullcontext


@pytest.fixture(params=["vgg", "resnet8"])
def made(request):
    """A network in training, with images and labels."""
    options = {"plan": [4, "A", 6], "hidden": [10]} if request.param == "vgg" else {"width": 0.25}
    name = "vgg" if request.param == "vgg" else "resnet20"
    x = torch.rand(6, 3, 8, 8)
    body = create(name, 4, size=8, **options)
    body.train()(x)
    net = spiking(body.eval(), x, Dynamics(4), threshold=0.2)
    return net.train(), x, torch.tensor([0, 1, 2, 3, 0, 1])


def gradients(net, x, y):
    return torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()))


def is_spikes(x):
    return x.dim() == 4 and x.numel() > 100 and bool(((x == 0) | (x == 1)).all())


def test_gradients_are_those_of_kept_spikes(made, monkeypatch):
    net, x, y = made
    recalled = gradients(net, x, y)
    monkeypatch.setattr("robustsnn.spiking.network.recalling", nullcontext)
    for ours, kept in zip(recalled, gradients(net, x, y), strict=True):
        assert torch.equal(ours, kept)
    assert all(gradient.abs().sum() > 0 for gradient in recalled[-2:])


@pytest.mark.parametrize("view", [lambda net: net, recomputing], ids=["kept", "computed again"])
def test_a_gradient_at_weights_that_have_changed_since_is_refused_as_by_torch(view, made):
    net, x, y = made
    loss = F.cross_entropy(view(net)(x), y)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.9)
    with pytest.raises(RuntimeError, match="modified after the forward pass: run backward before the optimizer steps"):
        loss.backward()


class InPlace(nn.Module):
    """Writes into the outputs of a batch norm and of neurons."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm, self.act1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.conv2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.end = nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 4))

    def forward(self, x):
        current = self.norm(self.conv1(x))
        current += 0.5 * x[:, :1]
        spikes = self.act1(current)
        spikes *= 2
        return self.end(self.act2(self.conv2(spikes)))


def test_what_was_written_to_is_kept_as_it_is(monkeypatch):
    x, y = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    net = spiking(InPlace().eval(), x, Dynamics(4), threshold=0.2).train()
    ours = gradients(net, x, y)
    monkeypatch.setattr("robustsnn.spiking.network.recalling", nullcontext)
    for recalled, reference in zip(ours, gradients(net, x, y), strict=True):
        assert torch.equal(recalled, reference)


@pytest.fixture
def kept(monkeypatch):
    """The tensors that graphs keep from now on."""
    tensors = []

    def recording(pack, unpack):
        def noted(tensor):
            packed = pack(tensor)
            if isinstance(packed, tuple):
                tensors.append(packed[0])
            return packed

        return saved_tensors_hooks(noted, unpack)

    monkeypatch.setattr("torch.autograd.graph.saved_tensors_hooks", recording)
    return tensors


def test_no_spikes_are_kept(made, kept):
    gradients(*made)
    assert kept
    assert not [tensor.shape for tensor in kept if is_spikes(tensor)]


def test_of_a_batch_norm_before_neurons_only_the_input_is_kept(kept):
    x = torch.rand(6, 3, 8, 8)
    net = spiking(create("vgg", 4, size=8, plan=[4, 6], hidden=[10]), x, Dynamics(4)).train()
    norms = [module for module in net.modules() if isinstance(module, BatchNorm2d)]
    given, made = [], []
    for norm in norms:
        norm.register_forward_hook(lambda _, x, y: given.append(x[0].data_ptr()) or made.append(y))
    loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2, 3, 0, 1]))
    places = {tensor.data_ptr() for tensor in kept}
    assert len(norms) == len(made) == 2
    assert places.issuperset(given)
    assert places.isdisjoint(y.data_ptr() for y in made)
    loss.backward()


def test_a_graph_weighs_what_it_keeps(made):
    net, x, _ = made
    pixels = 4 * x.numel()
    assert graph_bytes(nn.Sigmoid(), x.clone().requires_grad_()) == pixels
    kept = graph_bytes(net, x)
    assert kept < graph_bytes(net, x.repeat(2, 1, 1, 1)) < 2 * kept
