import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn.conversion import calibrate, spiking
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics, SpikingNetwork, lif

ROOM = importlib.import_module("robustsnn.conversion.calibrate")  # the package shows the function of that name


def ranked(values, percentile):
    """The definition: a full sort."""
    return np.sort(values)[round(percentile / 100 * (len(values) - 1))]


@settings(max_examples=100)
@given(
    values=st.lists(st.integers(-20, 20).map(float) | st.floats(-100, 100, width=32), min_size=12, max_size=60),
    percentile=st.sampled_from([99.7, 100.0, 50.0, 0.1]) | st.floats(0.01, 100),
    repeats=st.integers(1, 5),
    chunk=st.integers(1, 4),
)
def test_the_percentile_is_that_of_the_sorted_values(values, percentile, repeats, chunk):
    position = percentile / 100 * (len(values) * repeats - 1)
    assume(abs(position % 1 - 0.5) > 1e-9)  # else the rank itself hangs on the last bit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ROOM, "CHUNK", chunk)
        found = ROOM.exact_percentile(torch.tensor(values), percentile, repeats)
    assert found == ranked(np.repeat(np.float32(values), repeats), percentile)


def test_the_percentile_of_one_value_is_that_value():
    assert ROOM.exact_percentile(torch.tensor([-2.5]), 99.7, repeats=3) == -2.5


@pytest.mark.parametrize("percentile", [99.7, 50.0, 3.0])
def test_the_percentile_of_many_values_is_exact(percentile):
    values = torch.randn(200_000, generator=generator(0, "percentile"))
    assert ROOM.exact_percentile(values, percentile) == ranked(values.numpy(), percentile)
    repeated = ranked(values.repeat_interleave(10).numpy(), percentile)
    assert ROOM.exact_percentile(values, percentile, repeats=10) == repeated


def plain(bias=False):
    """No norms: the thresholds follow from weights and spikes alone."""
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 12, bias), nn.ReLU(), nn.Linear(12, 9, bias), nn.ReLU(), nn.Linear(9, 4))


def batches(count=3, size=5):
    return list(torch.rand(count, size, 2, 8, 8, generator=generator(0, "calibration")))


@pytest.mark.parametrize("percentile", [99.7, 90.0])
@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_thresholds_are_percentiles_of_what_neurons_receive_layer_by_layer(percentile, leak):
    body, used = plain(bias=True), batches()
    net = spiking(body, used[0], Dynamics(3, leak))
    found = calibrate(net, used, percentile, timesteps=7)
    assert list(found) == ["2", "4"]
    received = [body[1](images.flatten(1)).detach().expand(7, 5, 12) for images in used]
    first = max(ranked(current.numpy().ravel(), percentile) for current in received)
    assert found["2"] == pytest.approx(first, rel=1e-6)
    spikes = [lif(current, found["2"], Dynamics(7, leak)) for current in received]
    second = max(ranked(body[3](s).detach().numpy().ravel(), percentile) for s in spikes)
    assert 0.05 < torch.stack(spikes).mean() < 0.9
    assert found["4"] == pytest.approx(second, rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_thresholds_scale_with_what_the_layer_receives(factor):
    body, used = plain(), batches()
    before = calibrate(spiking(body, used[0]), used, timesteps=5)
    with torch.no_grad():
        body[1].weight.mul_(factor)
    assert calibrate(spiking(body, used[0]), used, timesteps=5) == {"2": factor * before["2"], "4": before["4"]}
    with torch.no_grad():
        body[3].weight.mul_(factor)
    assert calibrate(spiking(body, used[0]), used, timesteps=5) == {name: factor * value for name, value in before.items()}


def test_darker_images_give_lower_thresholds_in_proportion():
    body, used = plain(), batches()
    net = spiking(body, used[0])
    before = calibrate(net, used, timesteps=5)
    assert calibrate(net, [images / 2 for images in used], timesteps=5) == {"2": before["2"] / 2, "4": before["4"]}


def test_the_first_batches_count_and_the_largest_of_their_percentiles(net):
    used = [images * light for images, light in zip(batches(4), (0.2, 1.0, 0.5, 3.0), strict=True)]
    name = next(iter(net.thresholds))
    each = [calibrate(net, [images], timesteps=2)[name] for images in used]
    assert calibrate(net, used, timesteps=2, limit=3)[name] == max(each[:3])
    assert calibrate(net, used, timesteps=2, limit=1)[name] == each[0]
    assert calibrate(net, used, timesteps=2)[name] == max(each)


def test_the_networks_own_thresholds_time_steps_statistics_and_flags_play_no_part(net):
    expected = calibrate(net, batches(), timesteps=4)
    other = net.replace(dict.fromkeys(net.thresholds, 7.0), timesteps=9).train()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.full_like(module.running_mean, 5.0)
    assert calibrate(other, batches(), timesteps=4) == expected
    assert calibrate(net, batches(), timesteps=30) != expected


def test_nothing_is_dropped_out_while_calibrating():
    body = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 12), nn.ReLU(), nn.Linear(12, 4))
    net = spiking(body, batches()[0])
    assert calibrate(net.train(), batches(), timesteps=2) == calibrate(net.eval(), batches(), timesteps=2)


def test_it_does_not_matter_what_runs_once(net):
    repeated = SpikingNetwork(net.body, net.dynamics, [type(slot)(slot.name) for slot in net.slots])
    assert calibrate(repeated, batches(), timesteps=6) == pytest.approx(calibrate(net, batches(), timesteps=6), rel=1e-5)


def test_batches_may_be_a_generator_and_come_with_labels(net):
    expected = calibrate(net, batches(), timesteps=3)
    assert calibrate(net, (images for images in batches()), timesteps=3) == expected
    assert calibrate(net, [(images, torch.zeros(5)) for images in batches()], timesteps=3) == expected


def test_no_more_batches_are_drawn_than_used(net):
    drawn = []
    calibrate(net, (drawn.append(1) or images for images in batches(6)), timesteps=2, limit=2)
    assert len(drawn) == 2


def test_every_layer_is_told_as_it_is_found(net):
    told = []
    found = calibrate(net, batches(), timesteps=3, on_layer=lambda name, threshold: told.append((name, threshold)))
    assert told == list(found.items())
    assert list(found) == list(net.thresholds)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_calibration_leaves_the_network_as_it_is(net, training, unchanged):
    net.train(training)
    with unchanged(net):
        calibrate(net, batches(), timesteps=3)


def dead():
    body = plain(bias=True)
    with torch.no_grad():
        body[3].weight.zero_()
        body[3].bias.fill_(-1.0)
    return body


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.1, math.nan])
def test_a_percentile_out_of_range_is_refused(net, percentile):
    with pytest.raises(ValueError, match=r"percentile must be in \(0, 100\]"):
        calibrate(net, batches(), percentile, timesteps=2)


@pytest.mark.parametrize(
    ("used", "line"),
    [
        ([], "at least one batch"),
        ([torch.empty(0, 2, 8, 8)], "at least one batch"),
        ([torch.full((1, 2, 8, 8), math.nan)], "NaN"),
        ([torch.full((1, 2, 8, 8), math.inf)], "infinity"),
    ],
)
def test_images_that_cannot_calibrate_are_refused(net, used, line):
    with pytest.raises(ValueError, match=line):
        calibrate(net, used, timesteps=2)


def test_a_layer_that_receives_nothing_positive_is_named():
    used = batches()
    with pytest.raises(ValueError, match=r"neurons of '4' receive nothing above 0 .*it is -1.*higher percentile"):
        calibrate(spiking(dead(), used[0]), used, timesteps=3)


def test_neurons_that_are_never_reached_are_named():
    class Skips(nn.Sequential):
        def forward(self, x):
            return self[2](self[0](x))

    net = SpikingNetwork(Skips(nn.Flatten(), nn.ReLU(), nn.Linear(128, 4)))
    with pytest.raises(ValueError, match="neurons of '1' are never reached"):
        calibrate(net, batches(), timesteps=2)
