"""Attacks on events, each against brute force on samples small enough to try everything."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustsnn.attacks import SDA, EventPGD, EventSearch, GreedyFlips, Margin, UniformNoise
from robustsnn.attacks.sda import flipped
from robustsnn.conversion import spiking
from robustsnn.seeds import generator, image_seeds
from robustsnn.spiking import Adaptive, Dynamics, Frames
from robustsnn.threats import Flips, Retiming

SEEDS = image_seeds(torch.arange(6), 0, "events")


def bits(*shape, seed=0, share=0.4):
    return (torch.rand(*shape, generator=generator(seed, "bits")) < share).float()


def network(inputs, classes=3, seed=0):
    """A small network of two layers, in double precision."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 12), nn.ReLU(), nn.Linear(12, classes))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator(seed, str(parameter.shape))) * 0.7
    return net


def every(shape):
    """All binary samples of a shape, ``[2 ** d, *shape]``."""
    count = torch.Size(shape).numel()
    return torch.tensor(list(product((0.0, 1.0), repeat=count))).view(-1, *shape)


@torch.no_grad()
def brute_force(model, x, y, threat):
    """Which samples some allowed sample breaks, and the largest margin, by trying all of them."""
    everything = every(x.shape[1:])
    logits = model(everything)
    fooled, margins = [], []
    for sample, label in zip(x, y, strict=True):
        allowed = threat.contains(everything, sample.expand_as(everything))
        z = logits[allowed]
        margin = z.scatter(1, label.expand(len(z), 1), -torch.inf).amax(1) - z[:, label]
        fooled.append(bool((margin > 0).any()))
        margins.append(float(margin.max()))
    return torch.tensor(fooled), torch.tensor(margins)


@given(st.integers(0, 20), st.sampled_from([Flips(1), Flips(3), Flips(0.5), Retiming(1), Retiming(2)]))
def test_on_a_linear_model_one_step_is_the_best_sample_of_all(seed, threat):
    x, y = bits(3, 5, 2, seed=seed), torch.tensor([0, 1, 0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 2))
    model[1].weight.data = torch.randn(2, 10, generator=generator(seed, "w"))
    _, best = brute_force(model, x, y, threat)
    adv = EventPGD(1, goal=Margin())(model, x, y, threat, rng=SEEDS[:3])
    z = model(adv)
    margin = z.gather(1, 1 - y[:, None])[:, 0] - z.gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(margin, best, rtol=0, atol=1e-5)


ATTACKS = [EventPGD(20, restarts=2), EventPGD(20, goal=Margin()), GreedyFlips(4, goal=Margin()), SDA(), EventSearch(300)]


@pytest.mark.parametrize("threat", [Flips(1), Flips(2), Flips(4), Retiming(1)], ids=str)
def test_together_they_break_what_brute_force_breaks_and_nothing_else(threat):
    possible = 0
    for seed in range(6):
        x, model = bits(6, 4, 3, seed=seed), network(12, seed=seed)
        y = model(x).argmax(1)
        can, _ = brute_force(model, x, y, threat)
        found = torch.zeros(6, dtype=torch.bool)
        for attack in ATTACKS:
            if isinstance(threat, attack.follows):
                judge = lambda adv, index, model=model, y=y: model(adv).argmax(1) != y[index]  # noqa: E731
                adv = attack(model, x, y, threat, rng=SEEDS, judge=judge)
                assert threat.contains(adv, x).all()
                found |= model(adv).argmax(1) != y
        assert torch.equal(found, can)
        possible += int(can.sum())
    assert possible > 8


def test_sda_needs_few_flips_and_its_reduction_takes_none():
    x, model = bits(6, 4, 3, 3), network(36)
    y = model(x).argmax(1)
    free = Flips(36)
    adv = SDA()(model, x, y, free, rng=SEEDS)
    assert (model(adv).argmax(1) != y).all()
    few = free.changed(adv, x)
    again = SDA(first=36)(model, x, y, free, rng=SEEDS)
    assert few.sum() <= free.changed(again, x).sum()
    for sample, other in enumerate(adv):  # every flip that is left was needed, or hides behind one that was
        flips = (other != x[sample]).flatten().nonzero().flatten()
        smallest = flipped(other.expand(len(flips), *other.shape), flips)
        assert (model(smallest).argmax(1) == y[sample]).any()


TRIED = [*ATTACKS, UniformNoise(3)]
FOLLOWED = [(attack, threat) for attack in TRIED for threat in (Flips(4), Retiming(1)) if isinstance(threat, attack.follows)]


@pytest.mark.parametrize(("attack", "threat"), FOLLOWED, ids=map(repr, FOLLOWED))
def test_results_depend_on_neither_batch_nor_order(attack, threat):
    body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    x = bits(6, 4, 2, 4, 4)
    net = spiking(body.eval(), x, Dynamics(4), 0.5, signal=Frames())
    y, order = net(x).argmax(1), torch.tensor([3, 0, 5])

    def run(chosen):
        path = Adaptive(0.43)(net)
        judge = lambda adv, index: net(adv).argmax(1) != y[chosen][index]  # noqa: E731
        return attack(path, x[chosen], y[chosen], threat, rng=SEEDS[chosen], judge=judge)

    assert torch.equal(run(order), run(torch.arange(6))[order])


def test_counts_change_event_by_event():
    x = torch.tensor([[0.0, 2.0, 3.0, 1.0]])
    slope = torch.tensor([[1.0, -3.0, 2.0, 0.5]])
    assert Flips(4, most=3).best(slope, x).tolist() == [[2.0, 0.0, 3.0, 1.0]]
    assert Flips(1, most=3).contains(x + torch.tensor([[0.0, 0.0, 0.0, 2.0]]), x).tolist() == [False]
    with pytest.raises(ValueError, match=r"SDA flips bits, but .* allows counts up to 3: use GreedyFlips"):
        SDA()(nn.Linear(4, 2), x, torch.tensor([0]), Flips(1, most=3))


@given(st.integers(0, 60), st.integers(0, 3), st.sampled_from([1, 2]))
def test_retiming_is_exact(seed, shift, most):
    threat, x = Retiming(shift, most=most), torch.randint(0, most + 1, (1, 5, 1), generator=generator(seed)).float()
    options = torch.tensor(list(product(range(most + 1), repeat=5))).float()[..., None]
    allowed = options[threat.contains(options, x.expand_as(options))]
    assert (allowed.sum(1) == x.sum(1)).all()
    for option in allowed:  # the k-th event moves to the k-th event
        times, before = (torch.arange(5).repeat_interleave(count.flatten().long()) for count in (option, x))
        assert max((times - before).abs().tolist(), default=0) <= shift
    anywhere = torch.randn(1, 5, 1, generator=generator(seed, "anywhere")) + 0.5
    nearest = threat.project(anywhere, x)
    assert threat.contains(nearest, x).all()
    best = ((allowed - anywhere) ** 2).sum((1, 2)).min()
    torch.testing.assert_close(((nearest - anywhere) ** 2).sum(), best)
    assert (threat.best(anywhere, x) * anywhere).sum() == pytest.approx(
        float((allowed * anywhere).sum((1, 2)).max()), abs=1e-5
    )
