"""Synaptic operations and their energy, counted by hand and by the counters of other libraries."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustsnn.conversion import spiking
from robustsnn.data import Samples
from robustsnn.evaluation import PRESETS, Joules, Operations, operations
from robustsnn.spiking import Dynamics, Slot, SpikingNetwork


def counted(body, dynamics, slots, pixels):
    net = SpikingNetwork(body, dynamics, slots=slots)
    return operations(net, Samples(pixels, torch.zeros(len(pixels), dtype=torch.int64), classes=2)), net


def test_operations_of_two_linear_layers_by_hand():
    """Pixels 0.75 and 0.5 give three neurons of threshold 1 the currents 1, 0.4375 and 0: in four steps 4, 1 and no spikes.
    One of the weights behind the first neuron is 0."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    body[1].weight.data = torch.tensor([[1.0, 0.5], [0.25, 0.5], [0.0, 0.0]])
    body[3].weight.data = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    x = torch.tensor([0.75, 0.5]).view(1, 1, 1, 2)
    found, _ = counted(body, Dynamics(4), [Slot("2", True)], x)
    assert found == {
        "1": Operations(macs=4, acs=0, dense=4),  # once, since it sees the same at every step
        "3": Operations(macs=0, acs=4 * 1 + 1 * 2, dense=5),
    }
    found, _ = counted(body, Dynamics(4), [Slot("2")], x)
    assert found["1"] == Operations(macs=16, acs=0, dense=4)  # once per step, if the network is run so


PLANE = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).view(1, 1, 4, 4)
"""Three spikes in every step behind neurons of threshold 1: in a corner, inside, and in another corner."""


def test_a_spike_meets_only_the_synapses_that_are_there():
    body = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 2))
    found, _ = counted(body, Dynamics(5), [Slot("0", True)], PLANE)
    assert found["1"] == Operations(macs=0, acs=5 * 2 * (4 + 9 + 4), dense=16 * 2 * 9)


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.Sequential(nn.Dropout(), nn.AvgPool2d((1, 2)), nn.Identity(), nn.AvgPool2d((2, 1))),
    ],
)
def test_every_spike_counts_behind_average_pooling(pool):
    body = nn.Sequential(nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 10)).eval()
    found, _ = counted(body, Dynamics(5), [Slot("0", True)], PLANE)
    assert found == {"3": Operations(macs=0, acs=5 * 3 * 10, dense=40)}


class Branches(nn.Module):
    """Neurons read by a layer as they are, by another behind a norm, by others together with the image or with themselves."""

    def __init__(self):
        super().__init__()
        self.act, self.norm = nn.ReLU(), nn.BatchNorm2d(1)
        self.plain, self.normed, self.mixed, self.doubled = (nn.Linear(n, 2) for n in (4, 16, 32, 16))

    def forward(self, x):
        spikes = self.act(x)
        pooled = F.avg_pool2d(spikes, 2).view(x.size(0), -1)
        both = torch.cat([spikes, x], 1)
        alone = self.plain(pooled) + self.normed(self.norm(spikes).flatten(1)) + self.mixed(both.flatten(1))
        return alone + self.doubled(torch.add(spikes, spikes).flatten(1))


def test_what_is_no_spikes_is_multiplied():
    found, _ = counted(Branches().eval(), Dynamics(3), [Slot("act")], PLANE)
    assert found["plain"] == Operations(macs=0, acs=3 * 3 * 2, dense=8)
    assert found["doubled"] == Operations(macs=0, acs=2 * 3 * 3 * 2, dense=32)
    assert found["normed"] == Operations(macs=3 * 32, acs=0, dense=32)
    assert found["mixed"] == Operations(macs=3 * 64, acs=0, dense=64)


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.fc = nn.ReLU(), nn.Linear(16, 2)

    def forward(self, x):
        return self.fc(self.act(x if x.sum() > 0 else -x).flatten(1))


def test_what_cannot_be_followed_is_not_counted():
    assert counted(Moody(), Dynamics(3), [Slot("act")], PLANE)[0] == {}


def test_the_ann_of_a_spiking_network_is_counted_in_it(ann, net, images, labels, unchanged):
    data = Samples(images, labels, classes=4)
    with unchanged(net, ann):
        found, plain = operations(net, data, batch=4), operations(ann, data)
    assert {name: layer.dense for name, layer in found.items()} == {name: layer.macs for name, layer in plain.items()}
    assert all(layer.acs == 0 for layer in plain.values())
    first, *others = found.values()
    assert first.macs == first.dense
    assert all(layer.macs == 0 < layer.acs for layer in others)
    joules = PRESETS["fp32, 45 nm"]
    assert joules(plain) == pytest.approx(joules.ann(found))


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_operations_are_means_over_images_whatever_the_batch(net, images, labels, batch):
    data = Samples(images, labels, classes=4)
    each = [operations(net, data.take(torch.tensor([i]))) for i in range(6)]
    for name, layer in operations(net, data, batch).items():
        assert layer.acs == pytest.approx(sum(one[name].acs for one in each) / 6)
        assert layer.macs == each[0][name].macs


class Called(nn.Sequential):
    """Its layers are given their input by name."""

    def forward(self, x):
        for layer in self:
            x = layer(input=x)
        return x


def test_a_layer_may_be_given_its_input_by_name(images, labels):
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)
    data = Samples(images, labels, classes=4)
    assert operations(Called(*layers), data) == operations(nn.Sequential(*layers), data)
    assert len(operations(Called(*layers), data)) == 2


def test_energy_is_operations_times_their_price():
    layers = {"a": Operations(macs=1000, acs=0, dense=1000), "b": Operations(macs=0, acs=2000, dense=3000)}
    assert PRESETS["fp32, 45 nm"](layers) == pytest.approx(4.6 + 1.8)
    assert PRESETS["fp32, 45 nm"].ann(layers) == pytest.approx(4 * 4.6)
    assert Joules(mac=1, ac=0)(layers) == pytest.approx(1)
    assert all(joules.ac < joules.mac for joules in PRESETS.values())


def test_multiply_accumulates_are_those_of_the_counter_of_torch(ann, images, labels):
    with FlopCounterMode(display=False) as counter:
        ann(images[:1])
    found = operations(ann, Samples(images, labels, classes=4))
    assert counter.get_total_flops() == 2 * sum(layer.macs for layer in found.values())


def test_accumulates_are_the_synaptic_operations_of_spikingjelly(images, labels):
    """It counts nothing behind an average pool, whose values are no zeros and ones: the network here strides instead."""
    counters = pytest.importorskip("spikingjelly.activation_based.op_counter", reason="spikingjelly is not installed")
    convolutions = [nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, padding=1, groups=2), nn.ReLU()]
    body = nn.Sequential(*convolutions, nn.Conv2d(8, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    net = spiking(body, images, Dynamics(4), threshold=0.2)
    counter = counters.SynOpCounter()
    with torch.no_grad(), counters.DispatchCounterMode([counter]):
        net(images)
    found = operations(net, Samples(images, labels, classes=4))
    assert counter.get_total() == pytest.approx(len(images) * sum(layer.acs for layer in found.values()))


class Looped(nn.Module):
    """A spiking network that nobody knows for one: its loop over time, its neurons and its layers are its own."""

    def __init__(self, folded=False):
        super().__init__()
        self.layer, self.out, self.folded = nn.Linear(16, 5), nn.Linear(5, 2), folded

    def forward(self, x):
        if self.folded:
            currents = self.layer(x.flatten(1).repeat(4, 1))  # time steps as a larger batch
            return self.out((currents > 0).to(x.dtype)).unflatten(0, (4, -1)).mean(0)
        return torch.stack([self.out((self.layer(x.flatten(1)) > 0).to(x.dtype)) for _ in range(4)]).mean(0)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.fc, self.out = nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.out(self.act(self.fc(self.fc(x.flatten(1)))))


@pytest.mark.parametrize("net", [Looped(), Looped(folded=True), Shared()], ids=["loop", "batch of steps", "shared layer"])
def test_nothing_is_counted_where_a_layer_works_several_times_in_a_pass(net, unchanged):
    """All steps of a hidden spiking network would be the multiply-accumulates of an ANN: 400 % of its own."""
    with unchanged(net):
        assert operations(net, Samples(PLANE, torch.zeros(1, dtype=torch.int64), classes=2)) == {}


def test_nor_in_a_spiking_network_that_shares_a_layer():
    assert counted(Shared(), Dynamics(3), [Slot("act")], PLANE)[0] == {}


def test_a_transposed_convolution_by_hand():
    """Nine weights at each of four places; the spike in the middle of 2 x 2 places reaches all of them."""
    body = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(1, 1, 3, stride=2), nn.Flatten(), nn.Linear(25, 2))
    x = torch.tensor([[1.0, 0], [0, 0]]).view(1, 1, 2, 2)
    found, _ = counted(body, Dynamics(5), [Slot("0", True)], x)
    assert found["1"] == Operations(macs=0, acs=5 * 9, dense=4 * 9)


class Unseen(nn.Module):
    """Products of tensors outside of convolutions and linear layers."""

    def __init__(self, act, **modules):
        super().__init__()
        self.modules_of = nn.ModuleDict(modules)
        self.weight, self.head, self.act = nn.Parameter(torch.rand(4, 4)), nn.Linear(16, 3), act

    def forward(self, x):
        return self.head(self.act(self, x.flatten(1).view(-1, 4, 4)).flatten(1))


UNSEEN = {
    "matmul": lambda: Unseen(lambda s, x: x @ s.weight),
    "F.linear": lambda: Unseen(lambda s, x: F.linear(x, s.weight)),
    "attention": lambda: Unseen(lambda s, x: s.modules_of["a"](x, x, x)[0], a=nn.MultiheadAttention(4, 2, batch_first=True)),
    "LSTM": lambda: Unseen(lambda s, x: s.modules_of["a"](x)[0], a=nn.LSTM(4, 4, batch_first=True)),
    "a convolution": lambda: Unseen(lambda s, x: F.conv2d(x.unsqueeze(1), s.weight[None, None, :1, :1])),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_nothing_is_told_where_other_products_would_be_left_out(what):
    data = Samples(torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64), 3)
    assert not operations(UNSEEN[what]().eval(), data)


@pytest.mark.parametrize(("mode", "spikes"), [("nearest", True), ("bilinear", False)])
def test_spikes_that_are_repeated_are_spikes(mode, spikes):
    body = nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2, mode=mode), nn.Flatten(), nn.Linear(64, 2))
    found, _ = counted(body, Dynamics(5), [Slot("0", True)], PLANE)
    assert found["3"].acs == (5 * 3 * 4 * 2 if spikes else 0)
    assert found["3"].macs == (0 if spikes else 5 * 64 * 2)
