"""How far a perturbation moves the last potentials: its equation, its units, and that training makes it smaller."""

import pytest
import torch
from torch import nn

from robustsnn import LIF, Dynamics, SpikingNetwork
from robustsnn.training import NoisyFast, RobustFinetuning, Steady
from robustsnn.training.steady import perturbation


def net(weights, threshold=1.0, **neuron):
    body = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        body[1].weight.copy_(torch.tensor(weights).view(2, 1))
    return SpikingNetwork(body, Dynamics(3, neuron=LIF(**neuron))).replace({"2": threshold})


X, ADV = torch.full((1, 1, 1, 1), 0.2), torch.full((1, 1, 1, 1), 0.5)


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_it_is_its_equation_in_units_of_the_threshold(threshold):
    # currents differ by 0.3 * (1, -2) at each of three steps, and half of that is left after each
    steps = torch.tensor([1.0, 1.5, 1.75])
    expected = (0.3 * steps.mean() + 0.6 * steps.mean()) / 2 / threshold
    found = perturbation(net([1.0, -2.0], threshold, leak=0.5), X, ADV)
    assert found.item() == pytest.approx(float(expected), rel=1e-6)


def test_networks_that_compute_the_same_are_as_steady():
    scaled = net([3.0, -6.0], 3.0)
    torch.testing.assert_close(perturbation(scaled, X, ADV), perturbation(net([1.0, -2.0]), X, ADV))


def test_the_loss_adds_it_to_the_inner_one_and_its_gradient_shrinks_it():
    snn, y, inner = net([1.0, -2.0]), torch.tensor([0]), RobustFinetuning(eps=0.3, alpha=0.1)
    both = Steady(inner, weight=2.0).loss(snn, X, ADV, y)
    torch.testing.assert_close(both, inner.loss(snn, X, ADV, y) + 2 * perturbation(snn, X, ADV))
    assert torch.equal(Steady(inner, weight=0.0).loss(snn, X, ADV, y), inner.loss(snn, X, ADV, y))
    before = perturbation(snn, X, ADV)
    before.backward()
    with torch.no_grad():
        snn.body[1].weight -= 0.1 * snn.body[1].weight.grad
    assert perturbation(snn, X, ADV) < before
    Steady(NoisyFast(eps=0.1))(snn, X, y, rng=torch.arange(1)).backward()


def test_an_ann_has_no_potentials():
    with pytest.raises(ValueError, match="not Linear"):
        Steady().loss(nn.Linear(1, 2), X.flatten(1), ADV.flatten(1), torch.tensor([0]))
