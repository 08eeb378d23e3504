"""Spikes of both signs: a negative one where the potential is a threshold below zero; every path and exporter copes."""

import pytest
import torch
from torch import nn

from robustsnn import convert
from robustsnn.data import Samples
from robustsnn.deploy import to_nir
from robustsnn.evaluation import operations
from robustsnn.spiking import (
    LIF,
    Adaptive,
    Dynamics,
    Hybrid,
    PotentialDependent,
    Rate,
    SpikingNetwork,
    Surrogate,
    Ternary,
    unrolled,
)


@pytest.mark.parametrize(
    ("current", "neuron", "spikes"),
    [
        ([1.5, -1.0, -1.0, -0.6], Ternary(), [1, 0, -1, -1]),  # 1.5|.5 -.5 -1.5|-.5 -1.1
        ([1.5, -1.0], Ternary(leak=0.5), [1, 0]),  # 1.5|.5 -.75
        ([0.5, -1.5], Ternary(start=0.5), [1, -1]),  # 1.0|0 -1.5
    ],
)
def test_spikes_follow_the_trace_computed_by_hand(current, neuron, spikes):
    current = torch.tensor(current)[:, None]
    assert unrolled(current, 1.0, Dynamics(neuron=neuron)).flatten().tolist() == spikes
    assert unrolled(2 * current, 2.0, Dynamics(neuron=neuron)).flatten().tolist() == spikes


def test_where_nothing_falls_below_zero_it_is_soft_reset_integrate_and_fire():
    current = torch.rand(6, 20, generator=torch.Generator().manual_seed(0))
    ternary, plain = (unrolled(current, 1.0, Dynamics(neuron=kind)) for kind in (Ternary(0.9), LIF(0.9, "subtract")))
    assert torch.equal(ternary, plain)


def test_it_is_odd():
    current = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    spikes = unrolled(current, 1.0, Dynamics(neuron=Ternary(0.8)))
    assert torch.equal(unrolled(-current, 1.0, Dynamics(neuron=Ternary(0.8))), -spikes)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("path", [Surrogate(), Rate(), Hybrid(), PotentialDependent(), Adaptive()], ids=str)
def test_a_path_leaves_its_spikes_as_they_are_and_gets_through(path, net, images):
    ternary = net.replace({"features.2": 0.2}, neuron=Ternary())
    x = images.clone().requires_grad_()
    out = path(ternary)(x)
    assert torch.equal(out, ternary(images))
    assert torch.autograd.grad(out.square().sum(), x)[0].norm() > 0


def test_a_spike_of_either_sign_costs_an_accumulate():
    body = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        body[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    net = SpikingNetwork(body, Dynamics(2, neuron=Ternary()))
    assert operations(net, Samples(torch.ones(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64), 2))["3"].acs == 2 * 2 * 2


def test_a_network_converts_to_it_learns_and_is_refused_where_spikes_are_0_and_1(ann, images):
    net = convert(ann, [images], Dynamics(4, neuron=Ternary()), calibration_timesteps=6)
    net(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    pytest.importorskip("nir")
    with pytest.raises(ValueError, match=r"Ternary\(.*NIR cannot express: use LIF"):
        to_nir(net.eval(), (2, 8, 8))


@pytest.mark.parametrize("wrong", [{"leak": 2.0}, {"start": -1.0}], ids=str)
def test_what_is_out_of_range_is_refused(wrong, unchecked):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Ternary(**wrong)
