"""Networks of other libraries: their own forward pass in one pure call, and the gradients that our own neurons have."""

from functools import partial

import pytest
import torch
from torch import nn

from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    Adaptive,
    Analog,
    Dynamics,
    Exponential,
    ForeignNetwork,
    Hybrid,
    Library,
    Plain,
    PotentialDependent,
    Rate,
    RateApproximation,
    SpikingNetwork,
    Surrogate,
    Triangle,
)
from robustsnn.spiking.foreign import surrogate

STEPS = 4
PATHS = [Surrogate(Triangle(0.7)), Surrogate(Exponential(), detach_reset=True), Rate(), PotentialDependent(), Analog()]


class Toy(nn.Module):
    """Somebody's neuron: it keeps its potential, and may be given all steps at once."""

    def __init__(self, whole=False):
        super().__init__()
        self.v, self.whole, self.detach = 0.0, whole, False
        self.fires = surrogate(lambda u: (u >= 0).to(u.dtype), Triangle(1.0))

    def step(self, current):
        v = 0.8 * self.v + current
        spikes = self.fires(v - 1.0)
        self.v = v * (1 - (spikes.detach() if self.detach else spikes))
        return spikes

    def forward(self, current):
        return torch.stack([self.step(each) for each in current]) if self.whole else self.step(current)


def reset(module):
    if isinstance(module, Toy):
        module.v = 0.0


def replace(neuron, spike, detach_reset):
    neuron.fires, neuron.detach = spike, detach_reset


def run(net, x, timesteps):
    if any(getattr(module, "whole", False) for module in net.modules()):
        return net(x.expand(timesteps, *x.shape))
    return torch.stack([net(x) for _ in range(timesteps)])


TOYS = Library("toys", "fires", reset, replace, lambda neuron: neuron.whole)


@pytest.fixture
def layers():
    made = nn.Flatten(-3), nn.Linear(128, 16), nn.Linear(16, 12), nn.Linear(12, 4)
    with torch.no_grad():
        made[2].weight.mul_(4)
        made[1].weight.mul_(3)
    return made


@pytest.fixture
def ours(layers):
    flatten, *linear = layers
    body = nn.Sequential(flatten, linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
    return SpikingNetwork(body, Dynamics(STEPS, neuron=LIF(leak=0.8))).double().eval()


@pytest.fixture(params=[False, True], ids=["step by step", "all steps at once"])
def theirs(request, layers):
    flatten, *linear = layers
    body = nn.Sequential(flatten, linear[0], Toy(request.param), linear[1], Toy(request.param), linear[2])
    return ForeignNetwork(body, STEPS, TOYS, run).double().eval()


@pytest.fixture
def pixels(images):
    return images.double()


def gradient(view, x):
    x = x.clone().requires_grad_()
    weights = torch.rand(len(x), 4, generator=generator(0, "weights"), dtype=x.dtype)
    return torch.autograd.grad((view(x) * weights).sum(), x)[0]


def test_it_computes_what_its_neurons_do(ours, theirs, pixels):
    assert theirs.steps(pixels).shape == (STEPS, 6, 4)
    torch.testing.assert_close(theirs.steps(pixels), ours.steps(pixels))
    assert theirs(pixels).std() > 0.01


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_every_path_gives_the_gradient_that_our_own_neurons_have(path, ours, theirs, pixels):
    found, expected = gradient(path(theirs), pixels), gradient(path(ours), pixels)
    assert expected.count_nonzero() > len(expected.flatten()) / 2
    torch.testing.assert_close(found, expected)
    if not isinstance(path, Analog):
        assert torch.equal(path(theirs)(pixels), theirs(pixels))


def test_plain_is_the_gradient_that_the_library_has(ours, theirs, pixels):
    torch.testing.assert_close(gradient(Plain()(theirs), pixels), gradient(Surrogate(Triangle(1.0))(ours), pixels))


def test_adaptive_learns_the_same_from_pass_to_pass(ours, theirs, pixels):
    views = [Adaptive(0.42)(net) for net in (theirs, ours)]
    for view in views:
        view.begin(len(pixels))
    first = gradient(views[0], pixels)
    torch.testing.assert_close(first, gradient(views[1], pixels))
    some = torch.tensor([4, 1])
    for view in views:
        view.follow(some)
    found, expected = (gradient(view, pixels[some]) for view in views)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, first[some])


@pytest.mark.parametrize("path", [Hybrid(), RateApproximation()], ids=str)
def test_paths_that_need_more_of_a_neuron_are_refused(path, theirs):
    assert not theirs.leads(path)
    with pytest.raises(ValueError, match="needs a SpikingNetwork, not ForeignNetwork"):
        path(theirs)


def test_nothing_is_left_behind(theirs, pixels, unchanged):
    theirs.net(pixels.expand(STEPS, *pixels.shape) if theirs.net[2].whole else pixels)
    left = theirs.net[2].v.clone()
    with unchanged(theirs):
        once = theirs(pixels)
        for path in [*PATHS, Plain(), Adaptive()]:
            gradient(path(theirs), pixels)
        assert torch.equal(theirs(pixels), once)
        assert torch.equal(theirs.net[2].v, left)


def test_its_weights_are_trained_through_it(theirs, pixels):
    theirs(pixels).square().sum().backward()
    assert all(parameter.grad is not None for parameter in theirs.net.parameters())


def test_what_cannot_be_run_is_named(layers, images):
    flatten, *linear = layers
    with pytest.raises(ValueError, match="no neuron of toys"):
        ForeignNetwork(nn.Sequential(flatten, linear[0]), 4, TOYS, run)
    body = nn.Sequential(flatten, linear[0], Toy())
    with pytest.raises(ValueError, match="at least 1, not 0"):
        ForeignNetwork(body, 0, TOYS, run)
    with pytest.raises(ValueError, match=r"must return logits \[T, N, K\] for 6 images, not \[6, 16\]"):
        ForeignNetwork(body, 4, TOYS, lambda net, x, timesteps: net(x))(images)
    with pytest.raises(ValueError, match=r"not tuple: pass a function, such as run=.*net\(x\)\[1\]"):
        ForeignNetwork(body, 4, TOYS, lambda net, x, timesteps: (net(x), 0))(images)


def test_the_number_of_steps_is_the_one_that_is_run(layers, images):
    body = nn.Sequential(*layers[:2], Toy())
    own_loop = partial(lambda steps, net, x, timesteps: torch.stack([net(x)] * steps), 3)
    with pytest.raises(ValueError, match="ran 3 steps: pass timesteps=3 to its wrapper"):
        ForeignNetwork(body, 4, TOYS, own_loop)(images)
    assert ForeignNetwork(body, 3, TOYS, own_loop).steps(images).shape == (3, 6, 16)
    averaged = ForeignNetwork(body, 4, TOYS, lambda net, x, timesteps: net(x).unsqueeze(0))
    assert averaged.steps(images).shape == (1, 6, 16)


class Pooling(Toy):
    def forward(self, current):
        return super().forward(current)[:, ::2]


def test_gradients_go_around_no_neuron_that_has_another_shape(layers, images):
    net = ForeignNetwork(nn.Sequential(layers[0], layers[1], Pooling()), 4, TOYS, run)
    gradient = Surrogate()(net)(images)
    assert gradient.shape == (6, 8)
    with pytest.raises(ValueError, match=r"cannot bypass '2': its input \[6, 16\]"):
        Rate()(net)(images)
