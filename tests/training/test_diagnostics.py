"""Watchdogs name the place and the remedy, and leave the network alone."""

import re

import pytest
import torch
from torch import nn

from robustsnn.conversion import spiking
from robustsnn.data import digits
from robustsnn.models import create
from robustsnn.spiking import Dynamics, Exponential, Rectangle, StraightThrough, Triangle
from robustsnn.training import Epoch, Natural, Schedule, train
from robustsnn.training.diagnostics import first_not_finite, idle_layers, narrow, overfitting


def test_the_first_layer_that_is_not_finite_is_named(net, images, unchanged):
    with unchanged(net):
        assert first_not_finite(net, images) == ""
    with torch.no_grad():
        net.get_submodule("body.features.4").weight[0] = torch.nan
        net.get_submodule("body.classifier.1").weight[0] = torch.inf
    assert first_not_finite(net.train(), images) == "body.features.4"


def test_looking_for_it_draws_nothing_from_the_global_generator(unchanged):
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2))
    with unchanged(net):
        assert first_not_finite(net, torch.ones(3, 1, 2, 2)) == ""


def test_a_loss_that_is_no_number_names_the_layer_and_the_state_that_is_left(tmp_path):
    images = digits().train.first(40)
    net = create("digits", 10, size=8, channels=1, width=0.25)
    state = tmp_path / "net.state"

    def break_it(epoch):
        with torch.no_grad():
            net.get_submodule("features.3").weight[:] = torch.nan

    with pytest.raises(FloatingPointError, match=r"nan at epoch 1, step 0; .* 'features\.3': lower .*net\.state"):
        train(net, images, images, Natural(), Schedule(epochs=3, batch=20), probe=None, state=state, on_epoch=break_it)


@pytest.mark.parametrize(
    ("threshold", "said"),
    [(1e6, "'2' and 1 more layer never fire.*lower"), (1e-9, "'2' and 1 more layer fire in over 99%.*raise")],
)
def test_layers_that_say_nothing_are_named_with_the_remedy(threshold, said, unchanged):
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    for layer in (body[1], body[3]):
        nn.init.ones_(layer.weight)
    x = torch.rand(5, 1, 2, 2) + 0.1
    net = spiking(body, x, Dynamics(4), threshold=threshold)
    with unchanged(net):
        (warning,) = idle_layers(net, x)
    assert re.search(said, warning)


@pytest.mark.parametrize(
    ("surrogate", "threshold", "warns"),
    [
        (Triangle(1.0), 2.4, False),
        (Triangle(1.0), 4.2, True),
        (Triangle(2.1), 4.2, False),
        (Rectangle(2.0), 4.2, True),
        (Exponential(1.0, 1.0), 4.2, False),
        (StraightThrough(), 4.2, False),
    ],
)
def test_a_surrogate_that_is_narrow_for_the_thresholds_is_named_with_a_wider_one(surrogate, threshold, warns, unchanged):
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    net = spiking(body, torch.rand(5, 1, 2, 2), Dynamics(4, surrogate=surrogate), threshold=threshold)
    with unchanged(net):
        found = narrow(net)
    assert len(found) == warns
    assert all(re.search(r"median 4\.2.*'Triangle\(2\.1\)'", warning) for warning in found)
    assert narrow(net.replace(relative_surrogate=True)) == []
    assert narrow(net.replace(surrogate=Triangle(0.2), relative_surrogate=True)), "whatever the thresholds are"
    assert narrow(body) == [], "an ANN has no surrogate"


def test_training_warns_of_a_narrow_surrogate():
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    images, said = digits().train.first(8), []
    net = spiking(body, images.batch(torch.arange(2))[0], Dynamics(2), threshold=9.0)
    train(net, images, images, Natural(), Schedule(epochs=1, batch=8), probe=None, on_warning=said.append)
    assert any("Triangle(width=1.0) has no gradient" in line for line in said)


def test_layers_that_fire_now_and_then_are_not_mentioned(net, ann, images):
    assert idle_layers(net, images) == []
    assert idle_layers(ann, images) == [], "an ANN has no neurons"


def test_warnings_reach_the_caller_of_training_once():
    images = digits().train.first(40)
    body = create("digits", 10, size=8, channels=1, width=0.25)
    net = spiking(body, images.batch(torch.arange(4))[0], Dynamics(2), threshold=1e6)
    said = []
    train(net, images, images, Natural(), Schedule(epochs=3, batch=20, lr=1e-6), probe=None, on_warning=said.append)
    assert [line for line in said if "never" in line] == [said[-1]]
    assert len(said) == 2, "a surrogate that is narrow for such thresholds, and layers that never fire"


def history(*robust):
    return [Epoch(i, 1.0, 0.9, value, 0.1, 1.0) for i, value in enumerate(robust)]


@pytest.mark.parametrize(
    ("robust", "flagged"), [((0.4, 0.5), False), ((0.5, 0.45), False), ((0.2, 0.5, 0.1), True), ((0.5, 0.1, 0.1), False)]
)
def test_robustness_that_collapses_is_flagged_when_it_does(robust, flagged):
    assert bool(overfitting(history(*robust))) == flagged
