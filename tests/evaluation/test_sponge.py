"""Samples that cost more: within the threat, at the same prediction, and counted as reports count."""

from itertools import product

import pytest
import torch
from torch import nn

from robustsnn import L2, Analog, Flips, Frames, Linf, Rate, Retiming, load
from robustsnn.data import Samples, digits
from robustsnn.deploy import from_neurons
from robustsnn.evaluation import PRESETS, LaterDecision, MoreSpikes, operations, sponge
from robustsnn.evaluation.measures.activity import activity
from robustsnn.evaluation.meter import Meter, Wiring
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics, SpikingNetwork, Ternary
from robustsnn.spiking.foreign import surrogate
from robustsnn.spiking.surrogate import Triangle
from robustsnn.threats import FrameLinf

pytestmark = pytest.mark.usefixtures("unchecked")
JOULES = PRESETS["fp32, 45 nm"]


def bits(*shape, seed=0):
    return (torch.rand(*shape, generator=generator(seed, "sponge bits")) < 0.4).float()


def weighted(body, seed=0):
    for number, parameter in enumerate(body.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=generator(seed, number)) * 0.6
    return body


def for_events(seed=0, pixels=2, steps=4, **dynamics):
    """A network of frames ``[N, T, pixels]``."""
    body = nn.Sequential(nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    return SpikingNetwork(weighted(body, seed), Dynamics(steps, **dynamics), signal=Frames()).eval()


class Own(nn.Module):
    """Somebody's neuron."""

    def __init__(self):
        super().__init__()
        self.v, self.spike = 0.0, surrogate(lambda u: (u >= 0).to(u.dtype), Triangle(1.0))

    def reset(self):
        self.v = 0.0

    def forward(self, current):
        self.v = 0.9 * self.v + current
        spikes = self.spike(self.v - 1.0)
        self.v = self.v * (1 - spikes)
        return spikes


def wrapped(run=None):
    layers = nn.Linear(8, 16), Own(), nn.Linear(16, 9), Own(), nn.Linear(9, 3)
    return from_neurons(weighted(nn.Sequential(nn.Flatten(), *layers)), 5, run=run)


IMAGES = torch.rand(5, 2, 2, 2, generator=generator(0, "sponge images"))
EVENTS = bits(5, 4, 2)
CASES = [
    (wrapped(), IMAGES, Linf(0.2)),
    (wrapped(), IMAGES, L2(0.5)),
    (for_events(), EVENTS, Flips(2)),
    (for_events(neuron=Ternary()), EVENTS, Retiming(1)),
    (for_events(), EVENTS, FrameLinf(0.3)),
]


@pytest.mark.parametrize("objective", [MoreSpikes(), LaterDecision()], ids=str)
@pytest.mark.parametrize(("net", "x", "threat"), CASES, ids=lambda value: str(value)[:12])
def test_it_never_leaves_the_threat_or_the_prediction_and_never_costs_less(net, x, threat, objective, unchanged):
    with unchanged(net):
        found = sponge(net, x, threat, objective, steps=4, restarts=1)
    assert threat.contains(found.adversarial, x).all()
    with torch.no_grad():
        assert torch.equal(net(found.adversarial).argmax(1), net(x).argmax(1))
    before, after, random = (objective.measured(each) for each in (found.before, found.after, found.random))
    assert (after >= before).all()
    assert (random >= before).all()


@pytest.mark.parametrize("objective", [MoreSpikes(), LaterDecision()], ids=str)
def test_on_a_trained_network_it_beats_random_samples(objective):
    net, x = load("zoo:digits-robust"), digits().test.first(6)
    found = sponge(net, x, Linf(0.2), objective, steps=6, restarts=1)
    before, after, random = (objective.measured(each).double().mean() for each in (found.before, found.after, found.random))
    assert after - before > 1.5 * (random - before)


@pytest.mark.parametrize(("threat", "least"), [(Flips(2), 0.85), (Retiming(1), 0.6)], ids=str)
def test_on_tiny_recordings_it_finds_most_of_what_trying_all_of_them_finds(threat, least):
    everything = torch.tensor(list(product((0.0, 1.0), repeat=8))).view(-1, 4, 2)
    raised, possible = 0.0, 0.0
    for seed in range(3):
        net, x = for_events(seed), bits(5, 4, 2, seed=seed)
        found = sponge(net, x, threat, MoreSpikes(weighted=False), steps=7, restarts=3)
        with torch.no_grad():
            read = Meter(net, Wiring({}, JOULES, None, 0))(everything)
        allowed = torch.stack([threat.contains(everything, sample.expand_as(everything)) for sample in x])
        allowed &= read.logits.argmax(1) == found.prediction[:, None]
        best = torch.where(allowed, read.spikes, 0.0).amax(1)
        assert (found.after.spikes <= best).all()
        raised += float((found.after.spikes - found.before.spikes).sum())
        possible += float((best - found.before.spikes).sum())
    assert raised >= least * possible > 0


@pytest.mark.parametrize(("net", "x", "threat"), CASES[1:4:2], ids=["wrapped", "events"])
def test_a_sample_s_result_depends_on_neither_batch_nor_order(net, x, threat, monkeypatch):
    samples = Samples(x, torch.zeros(5, dtype=torch.int64), 3, counts=isinstance(threat, Retiming))
    found = sponge(net, samples, threat, steps=2, seed=3)
    order = torch.tensor([3, 0, 4, 1, 2])
    monkeypatch.setattr("robustsnn.evaluation.sponging.BATCH", 2)
    again = sponge(net, samples.take(order), threat, steps=2, seed=3)
    torch.testing.assert_close(again.adversarial, found.adversarial[order])
    torch.testing.assert_close(again.random.spikes, found.random.spikes[order])


def test_costs_are_those_of_reports(net, images):
    found = sponge(net, images, Linf(0.0), steps=1)
    assert float(found.before.spikes.mean()) == pytest.approx(sum(activity(net, [images]).spikes.values()))
    for number in range(len(images)):
        layers = operations(net, (images[number : number + 1], torch.tensor([0])))
        assert float(found.before.operations[number]) == pytest.approx(sum(layer.acs for layer in layers.values()))
        assert float(found.before.energy[number]) == pytest.approx(JOULES(layers))
    assert torch.equal(found.adversarial, images)
    assert str(found).splitlines()[0].split() == ["mean", "per", "sample", "clean", "random", "sponge"]


def test_the_spikes_of_other_libraries_are_counted_and_their_operations_unknown():
    net = wrapped()
    found = sponge(net, IMAGES, Linf(0.1), steps=2, path=Rate())
    rates = net.rates([IMAGES])
    assert float(found.before.spikes.mean()) == pytest.approx(5 * (16 * rates["2"] + 9 * rates["4"]))
    assert found.before.operations is found.after.energy is None


class Given(nn.Module):
    """Logits of steps as they are told: ``[N, T, 2]``."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        self.relu(x)
        return x


def test_a_decision_is_made_where_the_running_class_changes_for_the_last_time():
    leads = torch.tensor([[1, 1, 1, 1], [-1, 3, 1, 1], [1, -3, 1, 2.5], [-1, -1, -1, 4]])
    x = torch.stack([leads, torch.zeros(4, 4)], 2)
    net = SpikingNetwork(Given(), Dynamics(4), signal=Frames())
    assert Meter(net, Wiring({}, JOULES, None, 0))(x).decision.tolist() == [1, 2, 4, 4]


def test_layers_that_wait_for_one_another_decide_later():
    body = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    net = SpikingNetwork(weighted(body), Dynamics(4, synchronous=True)).eval()
    decision = sponge(net, IMAGES, Linf(0.1), LaterDecision(), steps=1).before.decision
    assert ((decision > 4) & (decision <= net.latency)).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"net": nn.Linear(8, 3)}, "Linear is not a spiking network"),
        ({"threat": Linf}, "such as Linf"),
        ({"path": Analog()}, "does not return the logits of every step"),
        ({"steps": 0}, "steps of PGD must be a whole number"),
        ({"preset": "fp64"}, "preset"),
        ({"objective": LaterDecision(), "net": wrapped(lambda net, x, steps: net(x)[None])}, "needs the logits of every"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_told(wrong, words):
    with pytest.raises(ValueError, match=words):
        sponge(**{"net": for_events(), "x": IMAGES if "net" in wrong else EVENTS, "threat": Linf(0.1)} | wrong)
