"""A neuron that holds more than its potential, here a synaptic current too, is a neuron like any other."""

import warnings
from dataclasses import dataclass, replace

import pytest
import torch

from robustsnn import Dynamics, convert
from robustsnn.attacks import PGD
from robustsnn.data import Samples
from robustsnn.deploy import exported
from robustsnn.evaluation import PROTOCOLS, Audit, evaluate
from robustsnn.spiking import LIF, Adaptive, Hybrid, Neuron, PotentialDependent, Rate, Scaled, Surrogate, unrolled
from robustsnn.training import Hire


@dataclass(frozen=True)
class Synaptic(Neuron):
    """``i <- decay * i + current``, ``v <- leak * v + i``, one spike at the threshold, which is subtracted."""

    decay: float = 0.5
    leak: float = 0.9

    def begin(self, current, tensors):
        return current.new_zeros(*current.shape, 2)

    def charge(self, left, current, tensors):
        synapse = self.decay * left[..., 0] + current
        return torch.stack([synapse, self.leak * left[..., 1] + synapse], -1)

    def distances(self, potential, tensors):
        return potential[..., 1] - tensors["threshold"]

    def reset_by(self, potential, spikes, tensors):
        return torch.stack([potential[..., 0], potential[..., 1] - spikes * tensors["threshold"]], -1)


PATHS = [Surrogate(), Scaled(), Rate(), Hybrid(), PotentialDependent(), Adaptive()]
every_path = pytest.mark.parametrize("path", PATHS, ids=str)


@pytest.fixture
def synaptic(net):
    return net.replace({"features.2": 0.2}, neuron=Synaptic())


def test_its_spikes_follow_the_trace_computed_by_hand():
    current = torch.tensor([0.6, 0.0, 0.4])[:, None]
    # i: .6 .3 .55;  v: .6, .84, 1.306
    assert unrolled(current, 1.0, Dynamics(neuron=Synaptic())).flatten().tolist() == [0, 0, 1]


@every_path
def test_a_path_leaves_its_spikes_as_they_are_and_gets_through(path, synaptic, images):
    x = images.clone().requires_grad_()
    with warnings.catch_warnings(action="error"):
        out = path(synaptic)(x)
        assert torch.equal(out, synaptic(images))
        assert torch.autograd.grad(out.square().sum(), x)[0].norm() > 0


@every_path
def test_without_a_synapse_its_gradients_are_those_of_one_potential(path, net, images):
    found = []
    for neuron in (Synaptic(decay=0.0), LIF(0.9, "subtract")):
        x = images.clone().requires_grad_()
        path(net.replace({"features.2": 0.2}, neuron=neuron))(x).square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found)
    assert found[0].norm() > 0


def test_it_meets_every_path_of_the_strictest_protocol(ann, images, labels):
    net = convert(ann, [images], Dynamics(3, neuron=Synaptic()), calibration_timesteps=4).eval()
    strictest = PROTOCOLS["rigorous"]
    quickly = tuple(replace(group, attack=PGD(steps=2)) for group in strictest.ensembles["rigorous"])
    report = evaluate(
        net, Samples(images, labels, 4), replace(strictest, ensembles={"quickly": quickly}), 0.05, check=Audit(0)
    )
    assert {"APGD-CE-50 along Hybrid(width=1.0)", "APGD-CE-50 along PotentialDependent()"} <= set(report.results[0].members)


def test_it_is_exported(ann, images, unchecked):
    net = convert(ann, [images], Dynamics(3, neuron=Synaptic()), calibration_timesteps=4).eval()
    assert torch.allclose(exported(net, images.shape[1:]).module()(images), net(images), atol=1e-5)


def test_what_carries_one_potential_on_refuses_it(synaptic, images, labels):
    with pytest.raises(ValueError, match=r"Hire carries over one potential.*Synaptic\(.*more"):
        Hire(eps=0.1)(synaptic, images, labels, rng=torch.Generator().manual_seed(0))
