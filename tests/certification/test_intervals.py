"""Intervals: exact for one neuron, sound for networks, never looser than S-IBP."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn import L2, LIF, PLIF, Constant, Dynamics, Frames, Linf, SpikingNetwork, certify
from robustsnn.attacks import PGD, UniformNoise
from robustsnn.certification import Intervals, bounds
from robustsnn.certification.boxes import Box
from robustsnn.certification.firing import by_steps, fired, rows_of, times_of
from robustsnn.conversion import spiking
from robustsnn.models import QCFS, create
from robustsnn.seeds import generator, image_seeds, noise, randomness
from robustsnn.spiking import MultiSpike, NeuronLayer, Rate, Slot
from robustsnn.threats import L1
from robustsnn.threats.flips import Flips

pytestmark = pytest.mark.usefixtures("unchecked")
NEURONS = [
    LIF(reset=reset, leak=leak, start=start) for reset in ("zero", "subtract") for leak in (1.0, 0.75) for start in (0.0, 0.5)
]
SOFT = LIF(reset="subtract", start=0.5)


def layer(dynamics, threshold=1.0):
    return NeuronLayer(nn.Parameter(torch.tensor(threshold)), dynamics)


def counts(dynamics, currents):
    """Running counts ``[T, N]`` of currents ``[T, N]``."""
    return layer(dynamics)(currents.flatten()[:, None]).view(currents.shape).cumsum(0)


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_running_counts_never_fall_if_a_current_rises(neuron):
    """Ten thousand pairs of currents, of every reset and leak."""
    rng = generator(0, "currents")
    low = torch.randn(6, 10_000, generator=rng).mul_(8).round_().div_(8)
    high = low + torch.rand(6, 10_000, generator=rng).mul_(16).round_().div_(8) * (torch.rand(6, 10_000, generator=rng) < 0.4)
    assert (counts(Dynamics(6, neuron), low) <= counts(Dynamics(6, neuron), high)).all()


def test_the_bounds_of_one_neuron_are_exact():
    """Every trajectory of running sums on a grid inside a box: the extreme counts are the bounds, at every step."""
    rng, steps = generator(0, "boxes"), 4
    dynamics = Dynamics(steps, SOFT)
    for _ in range(30):
        low = torch.randint(-4, 9, (steps,), generator=rng) / 4
        high = low + torch.randint(0, 4, (steps,), generator=rng) / 4
        grids = [torch.arange(float(a), float(b) + 0.1, 0.25).tolist() for a, b in zip(low, high, strict=True)]
        sums = torch.tensor([*itertools.product(*grids)]).T
        found = counts(dynamics, sums.diff(dim=0, prepend=torch.zeros(1, sums.shape[1])))
        box = Box.between(low[:, None], high[:, None], times_of("counts", steps, low))
        _, (least, most) = fired(layer(dynamics), box, "counts")
        assert torch.equal(least.flatten(), found.amin(1))
        assert torch.equal(most.flatten(), found.amax(1))


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_bounds_of_single_spikes_hold_and_are_no_looser_than_those_of_s_ibp(neuron):
    rng, steps = generator(1, "boxes"), 5
    dynamics = Dynamics(steps, neuron)
    low = torch.randn(steps, 40, generator=rng)
    high = low + torch.rand(steps, 40, generator=rng) * 0.3
    every = low[..., None] + (high - low)[..., None] * torch.rand(steps, 40, 200, generator=rng)
    spikes = counts(dynamics, every.flatten(1)).view(steps, 40, 200).diff(dim=0, prepend=torch.zeros(1, 40, 200))
    least, most = by_steps(layer(dynamics), low, high)
    assert (least[..., None] <= spikes).all()
    assert (spikes <= most[..., None]).all()
    if rows_of(dynamics, "counts") == "both":
        both = torch.cat([low, low.cumsum(0)]).flatten(0, 1), torch.cat([high, high.cumsum(0)]).flatten(0, 1)
        box, (below, above) = fired(layer(dynamics), Box.between(*both, times_of("both", steps, low)), "counts")
        first, last = box.low.view(2, steps, 40)[0], box.high.view(2, steps, 40)[0]
        assert (first[..., None] <= spikes).all()
        assert (spikes <= last[..., None]).all()
        assert (first >= least).all()
        assert (last <= most).all()
        assert (below >= least.cumsum(0)).all()
        assert (above <= most.cumsum(0)).all()


def small(neuron=SOFT, steps=4, *, synchronous=False, hidden=(12, 10), scale=2.0, seed=0):
    """A network of linear layers, with weights that make it fire."""
    with randomness(seed, "small"):
        layers = [nn.Flatten()]
        sizes = [9, *hidden]
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        body = nn.Sequential(*layers, nn.Linear(sizes[-1], 3))
        with torch.no_grad():
            for part in body.modules():
                if isinstance(part, nn.Linear):
                    part.weight *= scale
        net = spiking(body, torch.rand(4, 1, 3, 3), Dynamics(steps, neuron, synchronous=synchronous), threshold=0.7)
    return net.eval()


def convolutions():
    body = create("vgg", classes=3, size=6, channels=1, mean=(0.4,), std=(0.3,), seed=1, plan=[3, "A"], hidden=[8])
    rng = generator(2, "pixels")
    for _ in range(3):
        body.train()(torch.rand(16, 1, 6, 6, generator=rng))
    return spiking(body.eval(), torch.rand(3, 1, 6, 6, generator=rng), Dynamics(4, SOFT), threshold=0.6).eval()


def held(net, x, threat, rounds=30, **options):
    """Bounds, and logits of random members of the threat and of the end points, all of which must lie inside."""
    found = bounds(net, x, threat, **options)
    for draw in range(rounds):
        adv = threat.sample(x, noise(image_seeds(torch.arange(len(x)), draw)))
        if isinstance(threat, Linf) and draw % 2:
            adv = threat.project(x + threat.eps * (adv - x).sign(), x)
        with torch.no_grad():
            logits = net(adv)
        assert (logits >= found.low - 1e-5).all()
        assert (logits <= found.high + 1e-5).all()
        y = logits.argmax(1)
        true = logits.gather(1, y[:, None]) - logits
        assert (found.margins(y) <= true + 1e-5).all()
    return found


NETS = {
    "soft": lambda: small(),
    "soft, start 0": lambda: small(LIF(reset="subtract")),
    "hard": lambda: small(LIF()),
    "leak": lambda: small(LIF(leak=0.8, reset="subtract")),
    "trained leak": lambda: small(PLIF(leak=0.9)),
    "synchronous": lambda: small(synchronous=True),
    "synchronous, hard": lambda: small(LIF(), synchronous=True),
    "three layers": lambda: small(hidden=(10, 10, 10)),
    "convolutions": convolutions,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("threat", [Linf(0.03), L2(0.05)], ids=str)
def test_logits_stay_within_their_bounds(name, threat):
    net = NETS[name]()
    x = torch.rand(12, 1, *((6, 6) if name == "convolutions" else (3, 3)), generator=generator(3, "pixels"))
    found = held(net, x, threat)
    exact = bounds(net, x, threat.scaled(0.0), slack=0.0)
    with torch.no_grad():
        assert torch.allclose(exact.low, net(x), atol=1e-4), "without a threat the bounds are the logits"
        assert torch.allclose(exact.high, net(x), atol=1e-4)
    assert list(found.counts) == list(net.neurons)


@pytest.mark.parametrize("name", [name for name in NETS if "synchronous" not in name])
def test_no_sample_is_bounded_more_loosely_than_by_s_ibp(name):
    net = NETS[name]()
    x = torch.rand(20, 1, *((6, 6) if name == "convolutions" else (3, 3)), generator=generator(4, "pixels"))
    for eps in (0.01, 0.03, 0.1):
        ours, theirs = (bounds(net, x, Linf(eps), rule=rule, slack=0.0) for rule in ("counts", "steps"))
        assert (ours.low >= theirs.low - 1e-5).all()
        assert (ours.high <= theirs.high + 1e-5).all()
        y = net(x).argmax(1)
        assert (ours.margins(y) >= theirs.margins(y) - 1e-5).all()


def test_thousands_of_members_and_attacks_break_nothing_that_is_certified():
    net = small(hidden=(10,), scale=1.0)
    x = torch.rand(80, 1, 3, 3, generator=generator(5, "pixels"))
    y = net(x).argmax(1)
    broken = 0
    for eps in (0.01, 0.03):
        threat = Linf(eps)
        found = certify(net, (x, y), Intervals([threat]))
        proven = torch.tensor(found.certified(threat))
        assert 10 < int(proven.sum()) < 80
        held, labels = x[proven], y[proven]
        for attack in (PGD(20), UniformNoise(draws=60)):
            for model in (Rate()(net),):
                adv = threat.project(attack(model, held, labels, threat), held)
                assert (net(adv).argmax(1) == labels).all()
        wild = PGD(20)(Rate()(net), x[~proven], y[~proven], threat.scaled(3 * eps))
        broken += int((net(wild).argmax(1) != y[~proven]).sum())
    assert broken, "the attack is able to break what is not certified"


def frames(neuron, steps=3, *, synchronous=False):
    with randomness(0, "frames"):
        body = nn.Sequential(nn.Flatten(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 3))
        with torch.no_grad():
            body[1].weight *= 3
        dynamics = Dynamics(steps, neuron, synchronous=synchronous)
        net = SpikingNetwork(body, dynamics, Frames())
    return net.eval()


@pytest.mark.parametrize("neuron", [SOFT, LIF(), LIF(leak=0.8)], ids=str)
@pytest.mark.parametrize("synchronous", [False, True])
def test_flips_of_frames_by_all_members(neuron, synchronous):
    """All flips of one and of two bits of few frames: the first layer's counts are bounded exactly for each neuron."""
    net = frames(neuron, synchronous=synchronous)
    x = (torch.rand(2, 3, 2, 2, 2, generator=generator(6, "events")) < 0.3).float()
    for budget in (0, 1, 2):
        found = bounds(net, x, Flips(float(budget)), slack=0.0)
        with torch.no_grad():
            pairs = [*itertools.combinations(range(24), budget)]
            members = x.flatten(1).repeat(len(pairs), 1, 1)
            for i, pair in enumerate(pairs):
                members[i, :, list(pair)] = 1 - members[i, :, list(pair)]
            logits = net(members.view(-1, *x.shape[1:])).view(len(pairs), 2, 3)
        assert (logits.amin(0) >= found.low - 1e-5).all()
        assert (logits.amax(0) <= found.high + 1e-5).all()
    for budget in (0.5, 24.0):
        held(net, x, Flips(budget), rounds=5)


def test_flips_that_add_more_than_one_event_have_no_intervals():
    x = torch.zeros(1, 3, 2, 2, 2)
    with pytest.raises(ValueError, match="most=1"):
        bounds(frames(SOFT), x, Flips(1.0, most=2))


def test_first_currents_under_flips_are_exact():
    """The running sum of one neuron: the largest effects, no more than the budget, and only bits that it has seen."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        body[1].weight.copy_(torch.tensor([[1.0, 0.5, -0.25, 0.75]]))
        body[3].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    net = SpikingNetwork(body, Dynamics(2, LIF(reset="subtract"))).replace(signal=Frames()).eval()
    x = torch.tensor([[[[[1.0, 0.0, 0.0, 0.0]]], [[[0.0, 0.0, 1.0, 0.0]]]]])
    found = bounds(net, x, Flips(1.0), slack=0.0)
    sums = {(0, 0): [1.0, 0.75]}
    for t, i in itertools.product(range(2), range(4)):
        moved = x.clone()
        moved[0, t, 0, 0, i] = 1 - moved[0, t, 0, 0, i]
        current = moved.flatten(2)[0] @ body[1].weight[0]
        sums[t, i] = current.detach().cumsum(0).tolist()
    seen = [counts(net.dynamics, torch.tensor(s).diff(prepend=torch.zeros(1))[:, None])[:, 0] for s in sums.values()]
    least, most = found.counts["2"]
    assert torch.equal(least.flatten(), torch.stack(seen).amin(0))
    assert torch.equal(most.flatten(), torch.stack(seen).amax(0))


def test_a_still_image_shown_at_every_step_by_the_signal():
    """A network that was not told where its input is constant repeats it; the bounds are the same."""
    told = small()
    untold = SpikingNetwork(told.body, told.dynamics, Constant(), [Slot(name) for name in told.neurons]).eval()
    x = torch.rand(5, 1, 3, 3, generator=generator(7, "pixels"))
    for threat in (Linf(0.05), L2(0.1)):
        one, other = bounds(told, x, threat), bounds(untold, x, threat)
        assert torch.allclose(one.low, other.low, atol=1e-3)
        assert torch.allclose(one.high, other.high, atol=1e-3)


@given(st.integers(0, 10**6))
@settings(max_examples=5)
def test_any_small_network_is_sound(seed):
    rng = generator(seed, "network")
    neuron = NEURONS[int(torch.randint(len(NEURONS), (), generator=rng))]
    net = small(neuron, synchronous=seed % 3 == 0, seed=seed, hidden=(6, 6))
    x = torch.rand(6, 1, 3, 3, generator=rng)
    held(net, x, Linf(float(torch.rand((), generator=rng)) / 5), rounds=10)


@pytest.mark.parametrize("activation", ["ReLU()", "QCFS(4)"])
def test_anns_have_intervals_too(activation):
    ann = create("vgg", classes=3, size=6, channels=1, seed=1, plan=[3, "A"], hidden=[8], activation=activation).eval()
    assert activation == "ReLU()" or any(isinstance(part, QCFS) for part in ann.modules())
    held(ann, torch.rand(6, 1, 6, 6, generator=generator(8, "pixels")), Linf(0.05))


def test_residual_sums_and_products_pass():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.out = nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(18, 3)
            self.first, self.second = nn.ReLU(), nn.ReLU()
            self.share = nn.Parameter(torch.tensor(-0.6))

        def forward(self, x):
            a = self.first(self.one(x.flatten(1)))
            b = self.second(self.two(a) * self.share + 0.1 - a)
            return self.out(torch.cat([a, b], 1)) / 2

    with randomness(0, "residual"):
        body = Residual()
    net = spiking(body, torch.rand(3, 1, 3, 3), Dynamics(4, SOFT), threshold=0.2).eval()
    held(net, torch.rand(6, 1, 3, 3, generator=generator(9, "pixels")), Linf(0.05))


class Clamped(nn.Module):
    def forward(self, x):
        return torch.clamp(x, max=0.5)


@pytest.mark.parametrize(
    ("net", "threat", "match"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), Clamped(), nn.Linear(9, 3)),
            Linf(0.1),
            r"step 'clamp' \(clamp\) has no intervals",
        ),
        (lambda: small(), L1(0.1), "do not support the threat"),
        (lambda: small(MultiSpike()), Linf(0.1), "need LIF"),
        (lambda: small().replace({"2": -1.0}), Linf(0.1), "thresholds greater than 0"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3), nn.Tanh()), Linf(0.1), r"step '_2' \(Tanh\) has no intervals"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3)), L2(0.1), "do not support the threat"),
        (lambda: small(), Flips(1.0), "flips need binary frames"),
    ],
)
def test_what_has_no_intervals_is_told(net, threat, match):
    with pytest.raises(ValueError, match=match):
        bounds(net().eval(), torch.rand(2, 1, 3, 3), threat)


def test_certificates_by_intervals():
    net = small(hidden=(10,), scale=1.0)
    x = torch.rand(30, 1, 3, 3, generator=generator(5, "pixels"))
    y = net(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    found = certify(net, (x, y), "Intervals([Linf(0.0), Linf(0.02), Linf(1.0)])", batch=7)
    assert found.alpha == found.family_alpha == 0
    assert found.certified(Linf(0.0)) == found.correct
    assert not found.correct[0]
    assert found.accuracy(Linf(1.0)) < found.accuracy(Linf(0.02)) < 29 / 30
    assert repr(found) == str(found)  # notebooks show it
    head, *lines = str(found).splitlines()
    assert head.endswith(": 30 samples, certified accuracy under")
    assert [line.split("  ")[0].strip() for line in lines] == ["none", "Linf 0", "Linf 0.02", "Linf 1"]
    with pytest.raises(ValueError, match="certify again"):
        found.certified(Linf(0.3))
    with pytest.raises(ValueError, match="needs threats"):
        Intervals([])
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_bounds_have_gradients():
    net = small()
    found = bounds(net, torch.rand(4, 1, 3, 3), Linf(0.05), slack=0.0)
    found.margins(torch.tensor([0, 1, 2, 0])).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())
