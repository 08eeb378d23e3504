"""The gradient paths beyond the published ones: the forward pass stays, the backward pass is the one of its paper."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    Adaptive,
    Dynamics,
    Hybrid,
    Plain,
    PotentialDependent,
    RateApproximation,
    Scaled,
    SpikingNetwork,
    Surrogate,
    Triangle,
    walk,
)
from robustsnn.types import Following

PATHS = [RateApproximation(), Hybrid(), PotentialDependent(), Adaptive(), Adaptive(relative=True), Scaled()]
every_path = pytest.mark.parametrize("path", PATHS, ids=str)


def layer(threshold=1.0, **dynamics):
    """One layer of neurons that sees the pixels, and whose summed spikes are the logits."""
    return SpikingNetwork(nn.Sequential(nn.Identity(), nn.ReLU(), nn.Flatten()), Dynamics(**dynamics)).replace(
        {"1": threshold}
    )


def gradient(path, net, x, upstream):
    x = x.clone().requires_grad_()
    (path(net)(x) * upstream).sum().backward()
    return x.grad


@every_path
def test_the_forward_pass_is_that_of_the_network(path, net, images):
    assert torch.equal(path(net)(images), net(images))


@every_path
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_every_image_has_its_own_gradient(path, net, images, reset):
    together, alone = [], []
    for pixels, found in ((images, together), *((image[None], alone) for image in images)):
        pixels = pixels.clone().requires_grad_()
        path(net.replace(neuron=LIF(reset=reset)))(pixels).square().sum().backward()
        found.append(pixels.grad)
    torch.testing.assert_close(together[0], torch.cat(alone))
    assert together[0].abs().sum() > 0


@every_path
def test_an_ann_has_no_such_path(path, ann):
    with pytest.raises(ValueError, match="SpikingNetwork"):
        path(ann)


def test_rate_approximation_by_hand():
    x = torch.tensor([-0.1, 0.05, 0.5, 1.9, 2.1]).view(1, 5, 1, 1)
    leaky = gradient(RateApproximation(), layer(neuron=LIF(leak=0.9), timesteps=4), x, torch.ones(1, 5)).flatten()
    torch.testing.assert_close(leaky, torch.tensor([0, 0.2, 0.98 / 1.9, 0.98 / 1.9, 0]))
    whole = gradient(RateApproximation(), layer(timesteps=4), x, torch.ones(1, 5)).flatten()
    torch.testing.assert_close(whole, torch.tensor([0, 0.5, 0.5, 0.5, 0]))
    halved = gradient(RateApproximation(), layer(threshold=0.5, timesteps=4), x, torch.ones(1, 5)).flatten()
    torch.testing.assert_close(halved, torch.tensor([0, 0.5, 0.5, 0, 0]))


def test_hybrid_averages_surrogate_times_gradient_over_time():
    x = torch.tensor([0.4, 0.9]).view(1, 2, 1, 1)
    found = gradient(Hybrid(1.0), layer(timesteps=3), x, torch.tensor([[3.0, -6.0]])).flatten()
    # potentials 0.4, 0.8, 1.2 (then a spike) and 0.9, 1.8 (spike), 0.9; the logits are means over the three steps
    expected = torch.tensor([3.0 * (0.4 + 0.8 + 0.8) / 3, -6.0 * (0.9 + 0.2 + 0.9) / 3])
    torch.testing.assert_close(found, expected)


def test_potential_dependent_is_back_propagation_with_the_spread_of_the_potentials():
    x = torch.rand(2, 3, 4, 4, generator=generator(0, "test")) * 0.8
    net = layer(neuron=LIF(leak=0.9), timesteps=3)
    found = gradient(PotentialDependent(), net, x, torch.ones(2, 48))
    v = torch.stack(walk(x.expand(3, *x.shape), 1.0, net.dynamics).potentials)

    def surrogate(t, u):
        spread = v[: t + 1].transpose(0, 1).transpose(1, 2).flatten(2).std(2, correction=0)[:, :, None, None]
        return torch.exp(-((u - spread / 2) ** 2) / (2 * spread**2)) / (math.sqrt(2 * math.pi) * spread)

    torch.testing.assert_close(found, by_time(net, x, surrogate))


def by_time(net, x, surrogate):
    """Gradient of the mean spikes by the recursion of the method, with ``surrogate(t, u)``."""
    course = walk(x.expand(net.dynamics.timesteps, *x.shape), 1.0, net.dynamics)
    v, s = course.potentials, course.spikes
    total, a = torch.zeros_like(x), torch.zeros_like(x)
    for t in reversed(range(len(v))):
        sigma = (1 / len(v) - a * v[t]) * surrogate(t, v[t] - 1.0)
        d_current = a * (1 - s[t]) + sigma
        total, a = total + d_current, net.dynamics.neuron.leak * d_current
    return total


def test_adaptive_sharpens_by_what_it_remembers_of_each_image():
    net, a = layer(timesteps=3), 0.43
    view = Adaptive(a)(net)
    x = torch.rand(3, 2, 2, 2, generator=generator(0, "test"))
    view.begin(3)
    mean, deviation = torch.ones(3, 3, 2, 2, 2), torch.zeros(3, 3, 2, 2, 2)
    for index in (torch.arange(3), torch.tensor([0, 2]), torch.tensor([2])):
        view.follow(index)
        part = x[index].requires_grad_()
        view(part).sum().backward()
        u = (torch.stack(walk(part.detach().expand(3, *part.shape), 1.0, net.dynamics).potentials) - 1.0).abs()
        mean[:, index] = 0.9 * mean[:, index] + 0.1 * u
        deviation[:, index] = 0.9 * deviation[:, index] + 0.1 * (u - mean[:, index]).abs()
        k = 2 / math.pi * math.tan(math.pi * a) / (mean[:, index] + 1.5 * deviation[:, index] + 1e-4)
        expected = by_time(net, part.detach(), lambda t, u, k=k: k[t] / (2 * (1 + (math.pi / 2 * k[t] * u) ** 2)))
        torch.testing.assert_close(part.grad, expected)


def test_adaptive_remembers_within_a_run_alone():
    """Passes of which nobody tells are those of another library's attack: what other images left must not reach them."""
    net = layer(timesteps=3)
    view, fresh = Adaptive()(net), Adaptive()(net)
    x = torch.rand(3, 2, 2, 2, generator=generator(0, "test")).requires_grad_()

    def look(view, told):
        if told:
            view.follow(torch.arange(3))
        (found,) = torch.autograd.grad(view(x).sum(), x)
        return found

    alone = look(fresh, told=False)
    view.begin(3)
    first, second = look(view, told=True), look(view, told=True)
    assert torch.equal(first, alone)
    assert not torch.equal(first, second)
    assert torch.equal(look(view, told=False), alone)
    assert torch.equal(look(view, told=False), alone)
    view.begin(3)
    assert torch.equal(look(view, told=True), first)


def test_adaptive_stays_back_propagation_through_time(net, images):
    """It points about where a surrogate of its own first width does."""
    pixels = images.clone().requires_grad_()
    (adaptive,) = torch.autograd.grad(Adaptive()(net)(pixels).square().sum(), pixels)
    (triangle,) = torch.autograd.grad(Surrogate(Triangle(1.0))(net)(pixels).square().sum(), pixels)
    assert torch.cosine_similarity(adaptive.flatten(), triangle.flatten(), dim=0) > 0.3


@pytest.mark.parametrize("a", [0.0, 0.5, -1])
def test_a_share_out_of_range_is_refused(a):
    with pytest.raises(ValueError, match="Adaptive"):
        Adaptive(a)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_scaled_is_the_surrogate_where_thresholds_are_one(net, images, reset):
    """Elsewhere it is the surrogate of the same network, told in units of its thresholds."""
    same = layer(timesteps=3, neuron=LIF(0.9, reset))
    x = torch.rand(2, 3, 4, 4, generator=generator(0, "test"))
    plain = gradient(Surrogate(Triangle(0.5)), same, x, torch.ones(2, 48))
    torch.testing.assert_close(gradient(Scaled(Triangle(0.5)), same, x, torch.ones(2, 48)), plain)
    eighth = layer(threshold=0.125, timesteps=3, neuron=LIF(0.9, reset))
    torch.testing.assert_close(8 * plain, gradient(Scaled(Triangle(0.5)), eighth, x / 8, torch.ones(2, 48)))


def test_a_network_trains_by_the_same_surrogate(net, images):
    """Its own back-propagation is then `Scaled`, and published paths still use absolute widths."""
    relative = net.replace(surrogate=Triangle(0.5), relative_surrogate=True)
    cotangent = torch.randn(len(images), 4, generator=generator(0, "test"))
    assert torch.equal(gradient(Plain(), relative, images, cotangent), gradient(Scaled(Triangle(0.5)), net, images, cotangent))
    assert torch.equal(gradient(Surrogate(), relative, images, cotangent), gradient(Surrogate(), net, images, cotangent))


def scaled(net, factor):
    """The same network in another gauge: every threshold, and what flows into its layer, times ``factor``."""
    moved = deepcopy(net)
    with torch.no_grad():
        for name, threshold in moved.thresholds.items():
            threshold.mul_(factor)
            layers = list(moved.body.named_modules())
            before = [module for _, module in layers[: [n for n, _ in layers].index(name)]]
            flows = next(module for module in reversed(before) if getattr(module, "weight", None) is not None)
            flows.weight.mul_(factor)
            flows.bias.mul_(factor)
    return moved


GAUGED = [*(Scaled(Triangle(width)) for width in (0.5, 1.0, 2.0)), Adaptive(relative=True)]


@pytest.mark.parametrize("factor", [0.01, 100])
@pytest.mark.parametrize("path", [*GAUGED, Surrogate(), Adaptive()], ids=str)
def test_the_gauge_law(path, factor, net, images):
    """The scale of a layer changes nothing that a network computes, and nothing along a path in units of its own."""
    other = scaled(net, factor)
    torch.testing.assert_close(other(images), net(images))
    views = path(net), path(other)
    found = []
    for view in views:
        if isinstance(view, Following):
            view.begin(len(images))
        for _ in range(2):
            pixels = images.clone().requires_grad_()
            view.follow(torch.arange(len(images))) if isinstance(view, Following) else None
            view(pixels).square().sum().backward()
        found.append(pixels.grad / pixels.grad.norm().clamp_min(1e-20))
    agree = float((found[0] * found[1]).sum())
    assert (agree > 0.9999) == (path in GAUGED), agree
