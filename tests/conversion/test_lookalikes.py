"""The ANNs that users bring convert as they are, and come back from a file."""

import copy
from functools import cache

import pytest
import torch
from lookalikes import CLASSES, LOOKALIKES, VisionResNet18MaxPool, seen
from torch import nn

from robustsnn.checkpoint import load, save
from robustsnn.conversion import convert, spiking, trace
from robustsnn.seeds import generator
from robustsnn.spiking import LIF, Analog, Dynamics

pytestmark = pytest.mark.usefixtures("unchecked")

X = torch.rand(6, 3, 16, 16, generator=generator(0, "test lookalikes"))
STATISTICS = ("running_mean", "running_var")

every_lookalike = pytest.mark.parametrize("make", LOOKALIKES, ids=lambda make: make.__name__)


def converted(ann, batch_norm="reestimate"):
    """So few and narrow layers fall silent behind thresholds at the published percentile."""
    settings = {"percentile": 80.0, "calibration_timesteps": 4, "batch_norm": batch_norm, "allow": ann.allow}
    return convert(ann, [X], Dynamics(4), **settings).eval()


@cache
def made(make, batch_norm="reestimate"):
    """One ANN and its spiking network, for tests that change neither."""
    ann = seen(make)
    return ann, converted(ann, batch_norm)


def statistics(net):
    return {name: value.clone() for name, value in net.named_buffers() if name.endswith(STATISTICS)}


def unchanged_in(before, after):
    return [name for name in before if torch.equal(before[name], after[name])]


@every_lookalike
def test_it_converts_to_a_network_of_logits_and_stays_as_it_was(make, unchanged):
    ann = seen(make)
    with unchanged(ann):
        net = converted(ann)
        logits = net.steps(X)
    assert logits.shape == (4, len(X), CLASSES)
    assert torch.equal(net(X), logits.mean(0))
    assert net(X).std(0).max() > 0


@every_lookalike
def test_with_relu_for_spikes_it_is_the_ann(make):
    ann = seen(make)
    net = spiking(copy.deepcopy(ann), X, Dynamics(4), allow=ann.allow).eval()
    torch.testing.assert_close(Analog()(net)(X), ann(X))


@every_lookalike
def test_it_has_one_spiking_layer_for_each_activation(make):
    _, net = made(make)
    assert len(net.thresholds) == len(net.conversion_report.calibrated) == make.activations
    assert not any(isinstance(module, nn.ReLU) for module in net.modules())


@every_lookalike
def test_its_tensors_keep_their_names_and_values(make):
    ann = seen(make)
    net = spiking(copy.deepcopy(ann), X, Dynamics(4), allow=ann.allow)
    own = {n.removeprefix("body."): v for n, v in net.state_dict().items() if not n.endswith(".threshold")}
    assert own.keys() == ann.state_dict().keys()
    assert unchanged_in(ann.state_dict(), own) == list(ann.state_dict())


@every_lookalike
def test_with_its_batch_norms_kept_many_time_steps_are_the_ann(make, tmp_path):
    ann, own = seen(make), {} if make is not VisionResNet18MaxPool else {"rtol": 0.2, "atol": 0.1}  # or is not the largest
    settings = {"scale": 1.0, "percentile": 100.0, "batch_norm": "keep", "allow": ann.allow}
    net = convert(ann, [X], Dynamics(64, neuron=LIF(reset="subtract", start=0.5)), **settings).eval()
    expected = ann(X)
    torch.testing.assert_close(net(X), expected, **own or {"rtol": 0.02, "atol": 0.02 * float(expected.detach().abs().max())})
    save(tmp_path / "net.safetensors", net)
    assert torch.equal(load(tmp_path / "net.safetensors", make())(X[:2]), net(X[:2]))


@every_lookalike
@pytest.mark.parametrize("kind", ["ann", "snn"])
def test_it_comes_back_from_a_file_given_a_body_of_its_kind(make, kind, tmp_path, unchanged):
    net, body = made(make)[kind == "snn"], make()
    save(tmp_path / "net.safetensors", net, recipe={})
    with unchanged(body):
        back = load(tmp_path / "net.safetensors", body)
    assert torch.equal(back(X), net(X))
    assert not torch.equal(body.eval()(X), net(X))


@every_lookalike
def test_its_batch_norms_are_estimated_anew_on_spikes(make):
    ann, net = made(make)
    fresh = {f"body.{name}": value for name, value in statistics(make()).items()}
    before = {f"body.{name}": value for name, value in statistics(ann).items()}
    after = statistics(net)
    assert before.keys() == after.keys() == fresh.keys()
    assert unchanged_in(before, after) == []
    assert unchanged_in(fresh, after) == []


@every_lookalike
def test_in_training_every_batch_norm_of_it_goes_on_learning(make):
    net = copy.deepcopy(made(make, "keep")[1])  # estimated on these images, they would stay
    before = statistics(net)
    net.train()(X)
    assert before
    assert unchanged_in(before, statistics(net)) == []


@every_lookalike
def test_a_loss_reaches_every_parameter_and_threshold(make):
    net = copy.deepcopy(made(make)[1]).train()
    net(X).square().sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_the_max_pool_of_a_downloaded_stem_is_refused_by_name_unless_allowed():
    with pytest.raises(ValueError, match=r"layer 'maxpool' \(MaxPool2d\).*allow=\{'max_pool'\}"):
        trace(VisionResNet18MaxPool())
