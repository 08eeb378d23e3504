"""Flips of events: an attack never leaves them, and on a linear model greedy flips are the optimum."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustsnn.attacks.greedy import GreedyFlips
from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.threats.flips import Flips


def bits(*shape, seed=0, share=0.3):
    return (torch.rand(*shape, generator=generator(seed, "bits")) < share).float()


@given(st.integers(0, 99), st.sampled_from([0, 0.05, 0.2, 0.5, 1, 7, 1000]), st.sampled_from([0.0, 0.2, 1.0]))
def test_what_a_threat_makes_it_contains(seed, eps, share):
    x, threat = bits(4, 3, 2, 5, 5, seed=seed, share=share), Flips(eps)
    anywhere = torch.rand(x.shape, generator=generator(seed, "anywhere")) * 3 - 1
    for adv in (threat.project(anywhere, x), threat.sample(x, noise(generator(seed, "sample")))):
        assert threat.contains(adv, x).all()
        assert torch.equal(threat.project(adv, x), adv)
    assert threat.contains(x, x).all()
    beyond = (x - 1).abs()
    assert (threat.contains(beyond, x) == (threat.budget(x) >= x[0].numel())).all()
    assert not threat.contains(x + 0.5, x).any()


def test_budgets_are_whole_events_of_each_sample():
    x = torch.zeros(3, 100)
    x[0, :7], x[1, :100] = 1, 1
    assert Flips(0.07).budget(x).tolist() == [0, 7, 0]
    assert Flips(3).budget(x).tolist() == [3, 3, 3]
    assert Flips(1.0).spelled == "1 flips"
    with pytest.raises(ValueError, match=r"a share below 1 or a whole number of events, not 1\.5: round it"):
        Flips(1.5)


def test_random_flips_use_the_whole_budget_on_events_and_on_empty_places():
    x = bits(6, 400, share=0.1)
    adv = Flips(20).sample(x, noise(generator(0, "random")))
    gone, new = ((x - adv).clamp_min(0).sum(1), (adv - x).clamp_min(0).sum(1))
    assert (gone + new).tolist() == [20.0] * 6
    assert gone.min() > 2
    assert new.min() > 2


@given(st.integers(0, 30), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3]))
def test_on_a_linear_model_greedy_flips_are_the_best_ones(seed, budget, rounds):
    x, weight = bits(2, 9, seed=seed, share=0.5), torch.randn(2, 9, generator=generator(seed, "weight"))
    model, y = nn.Linear(9, 2, bias=False), torch.tensor([0, 1])
    model.weight.data = weight
    adv = GreedyFlips(steps=rounds)(model, x, y, Flips(budget))
    assert Flips(budget).contains(adv, x).all()
    for sample, label, found in zip(x, y, adv, strict=True):
        margins = []
        for count in range(budget + 1):
            for places in combinations(range(9), count):
                other = sample.clone()
                other[list(places)] = 1 - other[list(places)]
                logits = weight @ other
                margins.append(float(logits[1 - label] - logits[label]))
        logits = weight @ found
        assert float(logits[1 - label] - logits[label]) == pytest.approx(max(margins), abs=1e-5)


def test_flips_depend_on_neither_batch_nor_order():
    x, y = bits(6, 2, 2, 4, 4), torch.arange(6) % 3
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    whole = GreedyFlips()(model, x, y, Flips(5))
    order = torch.tensor([3, 0, 5])
    assert torch.equal(GreedyFlips()(model, x[order], y[order], Flips(5)), whole[order])
    seeds = image_seeds(torch.arange(6), 0)
    assert torch.equal(Flips(5).sample(x[order], noise(seeds[order])), Flips(5).sample(x, noise(seeds))[order])
