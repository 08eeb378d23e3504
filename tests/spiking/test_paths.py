import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from robustsnn.spiking import (
    LIF,
    Analog,
    Exponential,
    NeuronLayer,
    Plain,
    Rate,
    Rectangle,
    SpikingNetwork,
    StraightThrough,
    Surrogate,
    Triangle,
    unrolled,
)

SPIKING = [
    Surrogate(),
    Surrogate(Exponential(0.3, 2.0)),
    Surrogate(Rectangle(0.5), detach_reset=True),
    Surrogate(StraightThrough()),
    Rate(),
]
every_path = pytest.mark.parametrize("path", [*SPIKING, Analog(), Plain()], ids=repr)


def gradient(classifier, images, labels):
    x = images.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(classifier(x), labels), x)
    return g


@pytest.mark.parametrize("path", [*SPIKING, Plain()], ids=repr)
def test_a_path_leaves_the_forward_pass_as_it_is(net, images, path):
    assert torch.equal(path(net)(images), net(images))
    assert net(images).std() > 0


@every_path
def test_a_path_leaves_the_network_as_it_is(net, images, labels, path, unchanged):
    with unchanged(net):
        view = path(net)
        gradient(view, images, labels)
        view.train()


@every_path
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_path_takes_weights_and_flags_from_the_network(net, path, training):
    view = path(net.train(training))
    theirs = {id(parameter) for parameter in net.parameters()}
    assert {id(parameter) for parameter in view.parameters()} <= theirs
    assert {module.training for module in view.modules()} == {training}


@pytest.mark.parametrize("path", SPIKING, ids=repr)
def test_a_path_can_be_taken_before_dynamics_are_replaced_or_after(net, images, labels, path):
    before = gradient(path(net).replace(neuron=LIF(leak=0.9)), images, labels)
    assert torch.equal(before, gradient(path(net.replace(neuron=LIF(leak=0.9))), images, labels))


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through reset", "detached"])
@pytest.mark.parametrize("derivative", [Triangle(2.0), Exponential(0.3, 2.0), StraightThrough()], ids=repr)
def test_surrogate_is_back_propagation_through_lif(net, images, labels, derivative, detach_reset):
    path = Surrogate(derivative, detach_reset)
    dynamics = path(net).dynamics
    assert (dynamics.surrogate, dynamics.detach_reset) == (derivative, detach_reset)
    expected = gradient(net.firing(unrolled, dynamics), images, labels)
    ours = gradient(path(net), images, labels)
    assert expected.norm() > 0
    assert (ours - expected).norm() < 1e-5 * expected.norm()


def test_the_network_itself_differentiates_by_its_own_surrogate(net, images, labels):
    net = net.replace(surrogate=Rectangle(2.0), detach_reset=True)
    expected = gradient(Surrogate(Rectangle(2.0), detach_reset=True)(net), images, labels)
    assert torch.equal(gradient(net, images, labels), expected)
    assert torch.equal(gradient(Plain()(net), images, labels), expected)


def test_rate_passes_gradients_where_neurons_fired():
    net = SpikingNetwork(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3, 2, bias=False))).replace(timesteps=4)
    x = torch.tensor([0.1, 0.3, 1.0]).view(1, 1, 1, 3)  # fires never, once, always
    weight = net.body[2].weight.detach()
    y = torch.tensor([0])
    upstream = net(x).softmax(1).detach() - torch.eye(2)[y]
    expected = (upstream @ weight) * torch.tensor([0.0, 1.0, 1.0])
    torch.testing.assert_close(gradient(Rate()(net), x, y).flatten(1), expected)


def test_paths_of_different_surrogates_differ(net, images, labels):
    gradients = [gradient(path(net), images, labels) for path in [*SPIKING, Analog()]]
    for i, one in enumerate(gradients):
        assert one.norm() > 0
        for other in gradients[:i]:
            assert (one - other).norm() > 1e-3 * one.norm()


def test_analog_is_the_ann_with_the_same_statistics(ann, net, images):
    view = Analog()(net)
    assert not any(isinstance(module, NeuronLayer) for module in view.modules())
    torch.testing.assert_close(view(images), ann(images))


def test_a_path_follows_the_present_weights(net, images):
    views = [path(net) for path in SPIKING]
    with torch.no_grad():
        net.body.classifier[3].weight.mul_(2)
        net.thresholds["features.2"].mul_(0.5)
    assert all(torch.equal(view(images), net(images)) for view in views)


@pytest.mark.parametrize("path", [Surrogate(), Rate(), Analog()], ids=repr)
def test_an_ann_has_no_spikes_for_a_gradient_to_get_through(ann, path):
    with pytest.raises(ValueError, match=rf"needs a SpikingNetwork, not {type(ann).__name__}: .*Plain\(\)"):
        path(ann)


def test_plain_is_the_path_of_an_ann(ann, images, labels):
    assert torch.equal(gradient(Plain()(ann), images, labels), gradient(ann, images, labels))


def test_paths_are_values():
    assert Surrogate() == Surrogate(Triangle(1.0)) != Surrogate(Triangle(2.0))
    assert len({*SPIKING, Analog(), Rate(), Surrogate(StraightThrough())}) == len(SPIKING) + 1
