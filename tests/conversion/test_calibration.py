import copy
import importlib
import math
import weakref

import numpy as np
import pytest
import torch
from bodies import BODIES, trained
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustsnn.conversion import calibrate, spiking
from robustsnn.conversion import frontier as room
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.spiking import LIF, Dynamics, SpikingNetwork, unrolled

pytestmark = pytest.mark.usefixtures("unchecked")

ROOM = importlib.import_module("robustsnn.conversion.calibration")  # the package shows the function of that name


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


@pytest.mark.parametrize("special", [math.nan, math.inf])
@pytest.mark.parametrize("count", [1, 5, 400, 2000])
def test_special_values_are_the_largest(count, special):
    values = torch.randn(2000, generator=generator(0, "percentile"))
    values[torch.randperm(2000, generator=generator(0, "places"))[:count]] = special
    expected = torch.sort(values).values[round(0.99 * 1999)].item()  # NaN last
    found = ROOM.exact_percentile(values, 99.0)
    assert found == expected or math.isnan(found)


@settings(max_examples=50)
@given(values=st.lists(st.integers(0, 3).map(float), min_size=1, max_size=70), row=st.integers(1, 9), chunk=st.integers(1, 20))
def test_the_percentile_of_equal_values_does_not_depend_on_rows_and_chunks(values, row, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ROOM, "ROW", row)
        patch.setattr(ROOM, "CHUNK", chunk)
        assert ROOM.exact_percentile(torch.tensor(values), 90.0) == ranked(np.float32(values), 90.0)


def plain(bias=False):
    """No norms: the thresholds follow from weights and spikes alone."""
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 12, bias), nn.ReLU(), nn.Linear(12, 9, bias), nn.ReLU(), nn.Linear(9, 4))


def batches(count=3, size=5):
    return list(torch.rand(count, size, 2, 8, 8, generator=generator(0, "calibration")))


@pytest.mark.parametrize("percentile", [99.7, 90.0])
@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_thresholds_are_percentiles_of_what_neurons_receive_layer_by_layer(percentile, leak):
    body, used = plain(bias=True), batches()
    net = spiking(body, used[0], Dynamics(3, neuron=LIF(leak)))
    found = calibrate(net, used, percentile, timesteps=7)
    assert list(found) == ["2", "4"]
    received = [body[1](images.flatten(1)).detach().expand(7, 5, 12) for images in used]
    first = max(ranked(current.numpy().ravel(), percentile) for current in received)
    assert found["2"] == pytest.approx(first, rel=1e-6)
    spikes = [unrolled(current, found["2"], Dynamics(7, neuron=LIF(leak))) for current in received]
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
    used = [images * light for images, light in zip(batches(4), (0.1, 0.5, 0.2, 1.0), strict=True)]
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
    repeated = SpikingNetwork(net.body, net.dynamics, slots=[type(slot)(slot.name) for slot in net.slots])
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
        ([torch.empty(0, 2, 8, 8)], "batch for calibration is empty"),
        ([torch.full((1, 2, 8, 8), math.nan)], "NaN"),
        ([torch.full((1, 2, 8, 8), math.inf)], "infinity"),
        ([torch.full((1, 2, 8, 8), 255.0)], r"range over 255 .. 255: divide by 255"),
        ([torch.full((1, 2, 8, 8), -1.0)], r"in \[0, 1\], but range over -1"),
        ([torch.full((1, 2, 8, 8), 255, dtype=torch.uint8)], r"not torch\.uint8: divide by 255"),
    ],
)
def test_images_that_cannot_calibrate_are_refused(net, used, line):
    with pytest.raises(ValueError, match=line):
        calibrate(net, used, timesteps=2)


def test_a_layer_that_receives_nothing_positive_is_named():
    used = batches()
    with pytest.raises(ValueError, match=r"neurons of '4' receive nothing above 0 .*it is -1.*another percentile"):
        calibrate(spiking(dead(), used[0]), used, timesteps=3)


def test_neurons_that_are_never_reached_are_named():
    class Skips(nn.Sequential):
        def forward(self, x):
            return self[2](self[0](x))

    net = SpikingNetwork(Skips(nn.Flatten(), nn.ReLU(), nn.Linear(128, 4)))
    with pytest.raises(ValueError, match="never reaches the neurons of '1'"):
        calibrate(net, batches(), timesteps=2)


class Reached(Exception):
    """What neurons received."""


@torch.no_grad()
def from_the_images(net, batches, percentile=99.7, timesteps=100):
    """Calibration as it is defined: for every layer and batch, the whole network up to there."""

    class Record(nn.Module):
        def __init__(self, repeats):
            super().__init__()
            self.repeats = repeats

        def forward(self, x):
            raise Reached(ROOM.exact_percentile(x.flatten(), percentile, self.repeats))

    def received(net, name, images):
        view = net.rewired(lambda path, n: Record(timesteps if n.first else 1) if path == name else n.changed())
        with pytest.raises(Reached) as reached:
            view(images)
        return reached.value.args[0]

    view, found = ROOM.calibrating(net, timesteps), {}
    for name in net.thresholds:
        found[name] = max(received(view.replace(found), name, images) for images in batches)
    return found


def packaged(name):
    return lambda: create(name, classes=4, size=16, channels=2, width=0.125, seed=1)


@pytest.mark.parametrize(("store", "chunk"), [(1 << 30, 1 << 22), (200_000, 1 << 15), (40_000, 1 << 15)])
@pytest.mark.parametrize("body", [*BODIES, packaged("vgg11"), packaged("resnet20"), packaged("wideresnet16_4")])
def test_thresholds_are_those_of_whole_passes_to_the_bit(body, store, chunk, monkeypatch):
    monkeypatch.setattr(room, "STORE", store)
    monkeypatch.setattr(room, "CHUNK", chunk)
    made = trained(body) if body in BODIES else body().eval()
    size = 8 if body in BODIES else 16
    used = list(torch.rand(2, 5, 2, size, size, generator=generator(0, "calibration")))
    net = spiking(made, used[0], Dynamics(3, neuron=LIF(0.9, "subtract")))
    assert room.frontier(ROOM.calibrating(net, 6), used) is not None
    assert calibrate(net, used, timesteps=6) == from_the_images(net, used, timesteps=6)


class Backwards(nn.Module):
    """Neurons whose order as modules is not that of firing."""

    def __init__(self):
        super().__init__()
        self.late, self.early = nn.ReLU(), nn.ReLU()
        self.a, self.b = nn.Linear(128, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.late(self.b(self.early(self.a(x.flatten(1)))))


class DependsOnData(nn.Sequential):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class LooksAtTypes(nn.Sequential):
    """Tracing goes another way than running, without an error."""

    def forward(self, x):
        return super().forward(2 * x if isinstance(x, torch.Tensor) else x)


class ChangesInPlace(nn.Module):
    """What is alive at neurons is later changed in place, under one name and under two."""

    def __init__(self, add=lambda x, y: x.add_(y)):
        super().__init__()
        self.add = add
        self.a, self.b, self.c = nn.Linear(128, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.one, self.two, self.three = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x):
        stream = self.a(x.flatten(1))
        same = stream.view(-1, 3, 4)
        spikes = self.one(stream)
        self.add(stream, self.b(spikes))
        hidden = self.two(same.flatten(1))
        spikes.mul_(0.5)
        self.add(same, self.c(hidden).view(-1, 3, 4))
        return self.three(stream + spikes)


def assign(x, y):
    """Tracing makes a new tensor of this."""
    x += y


UNFOLLOWED = [
    Backwards,
    lambda: DependsOnData(*plain(True)),
    lambda: LooksAtTypes(*plain(True)),
    lambda: ChangesInPlace(assign),
]


@pytest.mark.parametrize("make", UNFOLLOWED)
def test_a_body_that_cannot_be_followed_is_calibrated_all_the_same(make):
    net = SpikingNetwork(make())
    assert room.frontier(ROOM.calibrating(net, 3), batches()) is None
    assert calibrate(net, batches(), timesteps=3) == from_the_images(net, batches(), timesteps=3)


def test_in_place_operations_change_nothing_that_is_kept():
    net = SpikingNetwork(ChangesInPlace())
    used = batches()
    before = copy.deepcopy(used)
    assert room.frontier(ROOM.calibrating(net, 6), used) is not None
    assert calibrate(net, used, timesteps=6) == from_the_images(net, used, timesteps=6)
    assert all(map(torch.equal, used, before))


@pytest.mark.parametrize(("store", "times"), [(1 << 30, 1), (9_000, 2), (0, 4)])
def test_every_layer_is_computed_once_if_currents_may_be_kept_and_twice_if_only_spikes_may(store, times, monkeypatch):
    monkeypatch.setattr(room, "STORE", store)
    used, calls = batches(), []
    net = spiking(create("vgg", plan=[4, "A", 4, 4], hidden=[8, 8], classes=4, size=8, channels=2).eval(), used[0])
    net.body.features[4].register_forward_hook(lambda module, x, out: calls.append(len(out)))
    calibrate(net, used, timesteps=6)
    assert sum(images == 30 for images in calls) == times * len(used)


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), chunk=st.sampled_from([8, 16, 1 << 22]), seed=st.integers(0, 9)
)
def test_zeros_and_ones_come_back_from_their_bits(shape, chunk, seed):
    spikes = (torch.rand(shape, generator=generator(seed, "spikes")) < 0.4).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "CHUNK", chunk)
        bits = room.pack(spikes)
        assert bits.bits.numel() <= spikes.numel() // 8 + 1
        assert torch.equal(bits.unpacked(), spikes)
        assert bits.unpacked().shape == spikes.shape


@pytest.mark.parametrize("value", [-0.0, 0.5, 2.0, -1.0, math.nan, math.inf])
def test_what_is_no_spike_is_not_packed(value):
    assert room.pack(torch.tensor([0.0, 1.0, value])) is None


class Memory(TorchDispatchMode):
    """The most bytes that tensors made inside have taken at once."""

    def __init__(self):
        super().__init__()
        self.made, self.peak = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.made += [weakref.ref(x) for x in torch.utils._pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
        alive = [x for ref in self.made if (x := ref()) is not None]
        self.made = [weakref.ref(x) for x in alive]
        storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in alive}
        self.peak = max(self.peak, sum(storages.values()))
        return result


def test_memory_is_little_more_than_what_the_widest_layer_receives(monkeypatch):
    monkeypatch.setattr(room, "CHUNK", 1 << 16)
    monkeypatch.setattr(ROOM, "CHUNK", 1 << 16)
    body = create("vgg", plan=[8, 32, 8], hidden=[8], classes=4, size=16, channels=2).eval()
    used = list(torch.rand(2, 8, 2, 16, 16, generator=generator(0, "calibration")))
    net = spiking(body, used[0])
    widest = 4 * 20 * 8 * 32 * 16 * 16
    kept = len(used) * widest / 32
    monkeypatch.setattr(room, "STORE", int(kept))  # spikes, no currents
    with Memory() as sparing:
        found = calibrate(net, used, timesteps=20)
    with Memory() as whole:
        assert from_the_images(net, used, timesteps=20) == found
    assert whole.peak > 2 * widest
    assert sparing.peak < 1.25 * widest + 2 * kept + 2e6  # the layer before it is a quarter as wide


def test_thresholds_of_channels_are_percentiles_of_what_each_receives(net, images):
    used = batches()
    found = calibrate(net, used, 97.0, timesteps=6, granularity="channel")
    assert list(found) == list(net.thresholds)
    name = next(iter(found))
    norm = ROOM.calibrating(net, 6).body.features[1]
    body = net.body
    received = [norm(body.features[0](body.normalize(x))).detach().numpy() for x in used]
    expected = [max(ranked(np.repeat(x[:, c].ravel(), 6), 97.0) for x in received) for c in range(4)]
    assert found[name].flatten().tolist() == pytest.approx(expected, rel=1e-6)
    assert [tuple(value.shape) for value in found.values()] == [(4, 1, 1), (6, 1, 1), (10,)]


def test_channels_fire_with_their_own_thresholds_behind_each_other():
    body, used = plain(bias=True), batches()
    found = calibrate(spiking(body, used[0]), used, 90.0, timesteps=7, granularity="channel")
    spikes = [unrolled(body[1](x.flatten(1)).detach().expand(7, 5, 12), found["2"], Dynamics(7)) for x in used]
    received = [body[3](s).detach().numpy() for s in spikes]
    expected = np.array([max(ranked(x[..., c].ravel(), 90.0) for x in received) for c in range(9)])
    assert (expected > 0).any()
    expected[expected <= 0] = expected.max()
    assert found["4"].numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("follow", [True, False])
def test_a_layer_of_one_channel_is_a_layer(follow, monkeypatch):
    if not follow:
        monkeypatch.setattr(ROOM, "frontier", lambda net, batches: None)
    body = nn.Sequential(nn.Conv2d(2, 1, 3), nn.ReLU(), nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))
    net = spiking(body, batches()[0])
    whole = calibrate(net, batches(), timesteps=5)
    assert {name: value.item() for name, value in each(net, batches()).items()} == whole


def each(net, used, **options):
    return calibrate(net, used, timesteps=5, granularity="channel", **options)


def test_a_channel_that_receives_nothing_gets_the_largest_threshold_of_its_layer():
    body, used = plain(bias=True), batches()
    with torch.no_grad():
        body[1].weight[3] = 0
        body[1].bias[3] = -1
    threshold = each(spiking(body, used[0]), used)["2"]
    assert threshold[3] == threshold.max()
    assert (threshold > 0).all()


def test_a_layer_in_which_no_channel_receives_anything_is_named():
    used = batches()
    with pytest.raises(ValueError, match=r"neurons of '4' receive nothing above 0 .*it is -1.*another percentile"):
        each(spiking(dead(), used[0]), used)


def test_the_mean_of_the_channels_is_told_and_the_network_takes_them(net, images):
    told = {}
    found = each(net, batches(), on_layer=told.__setitem__)
    assert told == {name: value.mean().item() for name, value in found.items()}
    view = net.replace(found)
    assert all(torch.equal(view.thresholds[name], value) for name, value in found.items())
    assert view(images).shape == (6, 4)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_granularity_is_refused(net):
    with pytest.raises(ValueError, match="granularity must be 'layer' or 'channel', not 'neuron'"):
        calibrate(net, batches(), granularity="neuron")
