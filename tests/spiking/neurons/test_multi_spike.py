"""Bursts: a step's spikes are as many as the potential holds thresholds; every path and exporter knows what to make of it."""

import pytest
import torch
from torch import nn

from robustsnn.conversion import convert
from robustsnn.data import Samples
from robustsnn.deploy import to_nir
from robustsnn.evaluation.measures.energy import operations
from robustsnn.evaluation.member import leading
from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    Adaptive,
    Analog,
    Dynamics,
    Hybrid,
    MultiSpike,
    Plain,
    PotentialDependent,
    Rate,
    RateApproximation,
    SpikingNetwork,
    Surrogate,
    Triangle,
    unrolled,
)


@pytest.mark.parametrize(
    ("current", "neuron", "spikes"),
    [
        ([2.5, 0.5, -1.0, 9.0], MultiSpike(4), [2, 1, 0, 4]),  # 2.5|.5 1.0|0 -1 8: at most 4
        ([2.5, 0.5], MultiSpike(1), [1, 1]),  # 2.5|1.5 2.0
        ([1.5, 1.0], MultiSpike(3, start=0.5), [2, 1]),
        ([1.5, 1.0], MultiSpike(3, leak=0.5), [1, 1]),  # 1.5|.5 1.25
    ],
)
def test_spikes_follow_the_trace_computed_by_hand(current, neuron, spikes):
    current = torch.tensor(current)[:, None]
    assert unrolled(current, 1.0, Dynamics(neuron=neuron)).flatten().tolist() == spikes
    assert unrolled(2 * current, 2.0, Dynamics(neuron=neuron)).flatten().tolist() == spikes


def test_one_level_is_soft_reset_integrate_and_fire(net, images):
    burst = net.replace(neuron=MultiSpike(1, leak=0.9, start=0.5))
    single = net.replace(neuron=LIF(0.9, "subtract", 0.5))
    assert torch.equal(burst.steps(images), single.steps(images))
    for path in (Surrogate(Triangle(0.7)), Rate(), Hybrid(), PotentialDependent(), Adaptive(), Analog()):
        found = []
        for view in (path(burst), path(single)):
            x = images.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(view(x).square().sum(), x)
            found.append(gradient)
        assert found[1].norm() > 0
        torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("path", [Surrogate(), Rate(), Hybrid(), PotentialDependent(), Adaptive()], ids=str)
def test_a_path_leaves_bursts_as_they_are_and_gets_through(path, net, images):
    burst = net.replace({"features.2": 0.2}, neuron=MultiSpike(3))
    x = images.clone().requires_grad_()
    out = path(burst)(x)
    assert torch.equal(out, burst(images))
    assert torch.autograd.grad(out.square().sum(), x)[0].norm() > 0


def test_what_only_single_spikes_have_is_refused(net, images):
    burst = net.replace(neuron=MultiSpike(3))
    with pytest.raises(ValueError, match=r"LIF or PLIF neurons, not MultiSpike.*use Hybrid"):
        RateApproximation()(burst)
    assert leading(burst, [Rate(), RateApproximation()]) == [Rate(), Plain()]
    assert leading(net, [Rate(), RateApproximation()]) == [Rate(), RateApproximation()]
    pytest.importorskip("nir")
    with pytest.raises(ValueError, match=r"MultiSpike\(levels=3.*NIR cannot express: use LIF"):
        to_nir(burst, (2, 8, 8))


def test_conversion_calibrates_bursts(ann, images):
    net = convert(ann, [images], Dynamics(4, neuron=MultiSpike(3)), calibration_timesteps=6).eval()
    counts = []
    for layer in net.neurons.values():
        layer.register_forward_hook(lambda _, __, spikes: counts.append(spikes.unique().tolist()))
    net(images)
    assert set().union(*counts) == {0, 1, 2, 3}


def test_every_spike_of_a_burst_costs_an_accumulate():
    body = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(3, 2, bias=False))
    net = SpikingNetwork(body, Dynamics(2, neuron=MultiSpike(4))).replace({"1": 0.25})
    x = torch.tensor([0.5, 0.25, 0.1]).view(1, 1, 1, 3)  # bursts of 2, 1 and 0 a step
    assert operations(net, Samples(x, torch.zeros(1, dtype=torch.int64), 2))["2"].acs == (2 + 1) * 2 * 2


def test_it_learns(images):
    body = nn.Sequential(nn.Flatten(), nn.Linear(128, 6), nn.ReLU(), nn.Linear(6, 3))
    net = SpikingNetwork(body, Dynamics(3, neuron=MultiSpike(2)))
    with torch.no_grad():
        body[1].weight.copy_(torch.randn(6, 128, generator=generator(0, "learns")) / 4)
    net(images).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"levels": 1.5}, {"leak": 2.0}, {"start": -1.0}], ids=str)
def test_what_is_out_of_range_is_refused(wrong, unchecked):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MultiSpike(**wrong)
