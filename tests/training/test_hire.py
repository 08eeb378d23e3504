"""HIRE-SNN: several steps per batch, noise from the gradients that training computes anyway."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn.compute.recompute import recomputing
from robustsnn.data import digits
from robustsnn.spiking import LIF, Dynamics, SpikingNetwork, Triangle
from robustsnn.training import Hire, MembraneMargin, Regularized, Schedule, train
from robustsnn.training.objectives import passes


@pytest.fixture
def net():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    return SpikingNetwork(body, Dynamics(4, neuron=LIF(leak=0.9), surrogate=Triangle(1.0))).replace({"2": 0.3, "4": 0.2})


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(1)
    return torch.rand(8, 1, 2, 2, generator=rng), torch.randint(3, (8,), generator=rng)


def test_without_noise_the_periods_add_up_to_one_presentation(net, batch):
    x, y = batch
    last = list(_losses(Hire(eps=0.0, periods=2), net, x, y))[-1]
    torch.testing.assert_close(last, F.cross_entropy(net(x), y))


def test_one_period_is_plain_training(net, batch):
    x, y = batch
    loss = Hire(periods=1)(net, x, y, rng=torch.Generator())
    torch.testing.assert_close(loss, F.cross_entropy(net(x), y))


def test_the_second_period_sees_one_step_up_the_gradient_of_the_first(net, batch):
    x, y = batch
    pixels = x.clone().requires_grad_()
    half = net.replace(timesteps=2)
    F.cross_entropy(half(pixels), y).backward()
    expected = (x + 0.1 * pixels.grad.sign()).clamp(0, 1)
    seen = []
    hook = lambda module, inputs: seen.append(inputs[0][:8].detach().clone())  # noqa: E731
    net.body[0].register_forward_pre_hook(hook)
    list(_losses(Hire(eps=0.1, periods=2), net, x, y))
    assert torch.equal(seen[0], x)
    torch.testing.assert_close(seen[1], expected)
    assert not torch.equal(expected, x)


def test_training_takes_one_step_per_period():
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    snn, steps = SpikingNetwork(body, Dynamics(4)), []
    data = digits().train.first(32), digits().test.first(8)
    train(snn, *data, Hire(eps=0.1, periods=4), Schedule(1, 16, 0.1), probe=None, after_step=[lambda _: steps.append(1)])
    assert len(steps) == 2 * 4


@pytest.mark.parametrize("objective", [Hire(eps=0.1), Regularized(Hire(eps=0.1), MembraneMargin(), 0.1)], ids=["alone", "in"])
def test_gradients_are_the_same_to_the_bit_where_activations_are_computed_again(objective, net, batch):
    found = []
    for view in (net, recomputing(net)):
        net.zero_grad()
        list(_losses(objective, view, *batch))
        found.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(kept, again) for kept, again in zip(*found, strict=True))


def test_what_cannot_be_divided_is_refused(net, batch):
    with pytest.raises(ValueError, match="3 equal periods"):
        Hire(periods=3)(net, *batch, rng=torch.Generator())
    with pytest.raises(ValueError, match="spiking network"):
        Hire()(net.body, *batch, rng=torch.Generator())
    with pytest.raises(ValueError, match="periods"):
        Hire(periods=0)


def _losses(objective, net, x, y):
    for loss_on in passes(objective, x, y, torch.Generator()):
        loss = loss_on(net)
        loss.backward()
        yield loss.detach()
