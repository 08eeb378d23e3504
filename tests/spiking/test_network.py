import copy
import math

import pytest
import torch
from torch import nn

from robustsnn.seeds import generator
from robustsnn.spiking import LIF, PLIF, Dynamics, NeuronLayer, Rectangle, Slot, SpikingNetwork, Surrogate, Triangle, unrolled


def body():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)
    )


@pytest.mark.parametrize("timesteps", [1, 5])
def test_logits_are_the_mean_of_those_of_every_step(net, images, timesteps):
    net = net.replace(timesteps=timesteps)
    assert net.steps(images).shape == (timesteps, 6, 4)
    torch.testing.assert_close(net.steps(images).mean(0), net(images))


@pytest.mark.parametrize("first", [False, True], ids=["repeated image", "first slot"])
def test_a_network_is_its_layers_with_lif_between(images, first):
    layers = body()
    net = SpikingNetwork(layers, Dynamics(6, neuron=LIF(leak=0.9)), slots=[Slot("1", first), Slot("5")]).replace(
        {"1": 0.2, "5": 0.05}
    )
    current = layers[0](images).expand(6, 6, 4, 6, 6)
    spikes = unrolled(current, 0.2, net.dynamics).flatten(0, 1)
    hidden = unrolled(layers[4](spikes_pooled(layers, spikes)).unflatten(0, (6, 6)), 0.05, net.dynamics)
    expected = layers[6](hidden.flatten(0, 1)).unflatten(0, (6, 6))
    assert 0.05 < hidden.mean() < 0.95
    torch.testing.assert_close(net.steps(images), expected)


def spikes_pooled(layers, spikes):
    return layers[3](layers[2](spikes))


def test_what_runs_once_computes_what_runs_at_every_step(ann, net, images):
    assert [slot.first for slot in net.slots] == [True, False, False]
    repeated = SpikingNetwork(net.body, net.dynamics, slots=[Slot(slot.name) for slot in net.slots]).eval()
    assert not any(neuron.first for neuron in repeated.neurons.values())
    torch.testing.assert_close(repeated.steps(images), net.steps(images))
    assert net.begun(images) is images
    assert torch.equal(repeated.begun(images).unflatten(0, (4, 6)), torch.stack([images] * 4))
    assert net.steps(images).std() > 0


def test_logits_at_a_step_do_not_depend_on_later_ones(net, images):
    torch.testing.assert_close(net.replace(timesteps=7).steps(images)[:4], net.steps(images))


def test_no_state_is_left_from_one_call_to_the_next(net, images, unchanged):
    with unchanged(net):
        once = net(images)
        net(1 - images)
        assert torch.equal(net(images), once)


def test_images_do_not_see_each_other(net, images):
    torch.testing.assert_close(torch.cat([net(image[None]) for image in images]), net(images))


def test_thresholds_are_trainable_parameters_in_firing_order(net):
    assert list(net.thresholds) == ["features.2", "features.6", "classifier.2"]
    assert all(net.get_parameter(f"body.{name}.threshold") is value for name, value in net.thresholds.items())
    assert all(value.requires_grad for value in net.thresholds.values())


def test_thresholds_are_ordered_by_the_slots_given():
    net = SpikingNetwork(body(), slots=[Slot("5"), Slot("1")])
    assert list(net.thresholds) == list(net.neurons) == ["5", "1"]


def test_a_network_shares_the_tensors_of_its_body_and_leaves_its_modules_alone(unchanged):
    layers = body()
    with unchanged(layers):
        net = SpikingNetwork(layers, Dynamics(3))
        net.train().eval()
    assert isinstance(layers[1], nn.ReLU)
    assert isinstance(net.body[1], NeuronLayer)
    assert net.body[0].weight is layers[0].weight


def test_thresholds_have_the_type_of_the_body():
    net = SpikingNetwork(body().double())
    assert all(value.dtype == torch.float64 for value in net.thresholds.values())
    assert net(torch.rand(2, 2, 8, 8, dtype=torch.float64)).dtype == torch.float64
    assert net.replace({"1": 0.3}).thresholds["1"].dtype == torch.float64


def test_replace_is_a_view_with_other_thresholds_and_dynamics(net, images, unchanged):
    with unchanged(net):
        view = net.replace({"features.6": 0.25}, neuron=LIF(leak=0.9, reset="subtract"), timesteps=2, surrogate=Rectangle(2.0))
        view.train().eval()
    assert view.thresholds["features.6"].item() == 0.25
    assert view.thresholds["features.2"] is net.thresholds["features.2"]
    assert view.body.features[0].weight is net.body.features[0].weight
    assert view.dynamics == Dynamics(2, neuron=LIF(0.9, "subtract"), surrogate=Rectangle(2.0))
    assert {neuron.dynamics for neuron in view.neurons.values()} == {view.dynamics}
    assert not torch.allclose(view(images), net(images))
    assert net.dynamics == Dynamics(4)


def test_replacing_nothing_replaces_nothing(net, images):
    assert torch.equal(net.replace().steps(images), net.steps(images))
    assert net.replace().thresholds == net.thresholds


def test_a_threshold_per_channel_replaces_a_scalar(net, images):
    view = net.replace({"features.2": torch.tensor([0.5, 0.5, 0.5, 0.5]).view(4, 1, 1)})
    torch.testing.assert_close(view(images), net(images))


def test_replace_works_where_the_whole_body_is_one_layer_of_neurons():
    assert SpikingNetwork(nn.ReLU()).replace({"": 0.5}).thresholds[""].item() == 0.5


@pytest.mark.parametrize(
    ("thresholds", "line"),
    [
        ({"features.5": 0.5}, "did you mean 'features.[26]'"),
        ({"features.2": math.nan}, "'features.2' must be finite"),
        ({"features.2": torch.tensor([1.0, math.inf, math.nan])}, "'features.2' must be finite; 2 of its values are not"),
    ],
)
def test_thresholds_that_fit_nowhere_are_refused(net, thresholds, line):
    with pytest.raises(ValueError, match=line):
        net.replace(thresholds)


@pytest.mark.parametrize(
    ("dynamics", "error"), [({"timesteps": 0}, ValueError), ({"steps": 3}, TypeError), ({"leak": 0.9}, TypeError)], ids=str
)
def test_dynamics_that_are_none_are_refused(net, dynamics, error):
    with pytest.raises(error, match=next(iter(dynamics))):
        net.replace(**dynamics)


def test_a_body_without_relu_is_refused():
    with pytest.raises(ValueError, match=r"Sequential has no nn.ReLU.*trace"):
        SpikingNetwork(nn.Sequential(nn.Flatten(), nn.Tanh()))


@pytest.mark.parametrize(("slot", "hint"), [("6", "known"), ("features.1", "known"), ("", "known")])
def test_a_slot_that_is_no_relu_is_refused(slot, hint):
    with pytest.raises(ValueError, match=f"slot {slot!r} is not a ReLU of Sequential: .*{hint}"):
        SpikingNetwork(body(), slots=[Slot("1"), Slot(slot)])


def test_networks_leave_the_global_generator_alone(images):
    layers, state = body(), torch.get_rng_state()
    net = SpikingNetwork(layers, Dynamics(3))
    net(images).sum().backward()
    net.replace(timesteps=2)(images)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_and_thresholds_receive_gradients(net, images):
    net(images).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.norm() > 0 for parameter in net.thresholds.values())
    assert net.body.features[0].weight.grad.norm() > 0


def test_state_dict_and_deep_copy_carry_a_network(net, images):
    clone = copy.deepcopy(net)
    assert torch.equal(clone(images), net(images))
    with torch.no_grad():
        clone.thresholds["features.2"].fill_(0.1)
    assert not torch.equal(clone(images), net(images))
    clone.load_state_dict(net.state_dict())
    assert torch.equal(clone(images), net(images))


def test_steps_of_random_bodies_are_finite_and_of_the_right_shape():
    x = torch.rand(0, 2, 8, 8, generator=generator(0))
    assert SpikingNetwork(body(), Dynamics(3)).steps(x).shape == (3, 0, 3)


def test_a_trained_leak_is_a_parameter_of_every_layer_that_views_share():
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    net = SpikingNetwork(body, Dynamics(4, neuron=PLIF(leak=0.9))).replace({"2": 0.1, "4": 0.05})
    assert {name: round(leak.item(), 4) for name, leak in net.leaks.items()} == {"2": 0.9, "4": 0.9}
    fixed = net.replace(neuron=LIF(0.9))
    assert not fixed.leaks
    assert torch.equal(fixed(x), net(x))
    view = Surrogate(Triangle(2.0))(net)
    assert all(view.leaks[name] is leak for name, leak in net.leaks.items())
    net(x).square().sum().backward()
    assert all(leak.grad is not None and leak.grad.abs() > 0 for leak in net.leaks.values())
    assert float(net.replace(neuron=PLIF(leak=0.5)).leaks["2"].detach()) == 0.5
