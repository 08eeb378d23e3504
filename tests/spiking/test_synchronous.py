"""Layers that wait for one another: a soft-reset network that starts at half a threshold is its staircase, exactly."""

import pytest
import torch
from torch import nn

from robustsnn.conversion import calibrate, convert
from robustsnn.conversion.calibration import calibrating
from robustsnn.data import Samples
from robustsnn.deploy import to_nir
from robustsnn.evaluation.measures.latency import correct_over_time
from robustsnn.models import QCFS
from robustsnn.seeds import generator
from robustsnn.spiking import LIF, Dynamics, Rate, Slot, SpikingNetwork, Surrogate
from robustsnn.training import Hire

LEVELS = 4
EXACT = Dynamics(LEVELS, LIF(reset="subtract", start=0.5), synchronous=True)


def eighths(*shape, rng, high=9):
    """Numbers whose sums no one rounds."""
    return torch.randint(-8, high, shape, generator=rng) / 8


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)
        self.act, self.out = QCFS(LEVELS), QCFS(LEVELS)

    def forward(self, x):
        return self.out(x + self.two(self.act(self.one(x))))


def body(seed):
    """A random staircase of a random plan."""
    rng = generator(seed, "synchronous")
    width = int(torch.randint(2, 5, (), generator=rng))
    layers = [nn.Conv2d(2, width, 3), QCFS(LEVELS)]
    for _ in range(int(torch.randint(0, 3, (), generator=rng))):
        layers += [Block(width)]
    made = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(9 * width, 6), QCFS(LEVELS), nn.Linear(6, 3))
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(eighths(*module.weight.shape, rng=rng))
                module.bias.copy_(eighths(*module.bias.shape, rng=rng))
            if isinstance(module, QCFS):
                module.threshold.fill_(2.0 ** float(torch.randint(-1, 3, (), generator=rng)))
    return made.eval(), (1 + eighths(5, 2, 8, 8, rng=rng)) / 2


@pytest.mark.parametrize("seed", range(12))
def test_it_is_its_staircase_exactly(seed):
    ann, x = body(seed)
    snn = convert(ann, [x], EXACT, scale=1, batch_norm="keep").eval()
    rates = {}
    for name, module in ann.named_modules():
        if isinstance(module, QCFS):
            module.register_forward_hook(lambda _, __, out, name=name: rates.__setitem__(name, out))
    logits = ann(x)
    fired = {}
    for name, layer in snn.neurons.items():
        layer.register_forward_hook(
            lambda _, __, out, name=name: fired.__setitem__(name, out.unflatten(0, (LEVELS, -1)).mean(0))
        )
    assert torch.equal(snn(x), logits)
    assert list(fired) == list(rates)
    assert all(torch.equal(fired[name], rates[name]) for name in fired)
    assert logits.std() > 0


def test_without_waiting_it_is_not():
    differ = [
        not torch.equal(convert(a, [x], EXACT, 1, batch_norm="keep").replace(synchronous=False)(x), a(x))
        for a, x in map(body, range(6))
    ]
    assert any(differ)


def test_its_latency_is_that_of_all_layers(net, images):
    assert (net.latency, net.replace(synchronous=True).latency) == (4, 12)
    waiting = net.replace(synchronous=True)
    assert torch.allclose(
        waiting(images), SpikingNetwork(waiting.body, waiting.dynamics, slots=[Slot(s.name) for s in net.slots])(images)
    )


def test_gradients_go_through_the_mean(net, images):
    waiting = net.replace(synchronous=True)
    for path in (Surrogate(), Rate()):
        x = images.clone().requires_grad_()
        assert torch.equal(path(waiting)(x), waiting(images))
        assert torch.autograd.grad(path(waiting)(x).square().sum(), x)[0].norm() > 0


def test_what_it_does_after_fewer_steps_is_a_network_of_its_own(net, images, labels):
    waiting = net.replace(synchronous=True)
    data = Samples(images, labels, 4)
    expected = [int((waiting.replace(timesteps=t)(images).argmax(1) == labels).sum()) for t in range(1, 4)]
    assert list(correct_over_time(waiting, data, timesteps=3)) == expected


def test_calibration_looks_at_the_mean_that_neurons_spend(net, images):
    waiting = net.replace(synchronous=True)
    found = calibrate(waiting, [images], percentile=90, timesteps=5)
    seen = []
    view = calibrating(waiting.replace(found), 5)
    second = list(found)[1]
    view.neurons[second].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].unflatten(0, (5, -1)).mean(0).detach())
    )
    view(images)
    assert found[second] == pytest.approx(float(seen[0].quantile(0.9)), rel=1e-2)
    assert found[second] != pytest.approx(calibrate(net, [images], percentile=90, timesteps=5)[second], rel=1e-2)


def test_who_runs_all_layers_at_once_cannot_have_it(net, images, labels):
    waiting = net.replace(synchronous=True)
    with pytest.raises(ValueError, match="synchronous=False"):
        Hire()(waiting, images, labels, rng=torch.Generator())
    pytest.importorskip("nir")
    with pytest.raises(ValueError, match="synchronous=False"):
        to_nir(waiting, (2, 8, 8))
