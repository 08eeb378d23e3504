"""Gaussian smoothing: coverage, radii, and counts that depend on neither batch, order, processes nor interruption."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from robustsnn import L2, Linf, certify
from robustsnn.certification import ABSTAINS, Smoothing, attack_smoothed, method, voting
from robustsnn.certification.smoothing import Gaussian, decided, radius
from robustsnn.certification.task import Task
from robustsnn.certification.voting import lower_bound, poll
from robustsnn.data import Samples
from robustsnn.processes import Team
from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.threats import L1

FEW = Smoothing(0.5, draws=80, first=10)
pytestmark = pytest.mark.usefixtures("unchecked")


class Half(nn.Module):
    """Class 1 right of a plane at ``edge`` along the first value, class 0 left of it: every probability is known."""

    def __init__(self, edge: float = 0.5) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x):
        height = x.flatten(1)[:, 0] - self.edge
        return torch.stack([-height, height], 1)


def cloud(count=12, size=4):
    values = torch.rand(count, 1, 1, size, generator=generator(0, "cloud"))
    return Samples(values, (values.flatten(1)[:, 0] > 0.5).long(), 2)


@pytest.mark.parametrize("p", [0.51, 0.7, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_bound_exceeds_the_true_probability_no_more_often_than_alpha(p, alpha):
    """10,000 repetitions of 1,000 draws."""
    repetitions = 10_000
    hits = torch.from_numpy(np.random.default_rng(0).binomial(1000, p, repetitions))
    wrong = int((lower_bound(hits, 1000, alpha) > p).sum())
    assert wrong <= alpha * repetitions + 4 * math.sqrt(alpha * repetitions)


def test_the_whole_certificate_covers():
    """A class that is right with probability 0.4 is rarely certified at all: the bound on the chosen class exceeds 1/2."""
    rng, repetitions, alpha = np.random.default_rng(1), 10_000, 0.05
    true = np.array([0.4, 0.35, 0.25])
    chosen = rng.multinomial(20, true, repetitions).argmax(1)
    hits = rng.binomial(500, true[chosen])
    bound = lower_bound(torch.from_numpy(hits), 500, alpha).numpy()
    assert (bound > true[chosen]).mean() <= alpha + 4 * math.sqrt(alpha / repetitions)
    assert (bound > 0.5).mean() <= alpha


def test_ten_thousand_draws_reach_the_radius_that_theory_says():
    full = Smoothing(0.25)
    assert full.largest == pytest.approx(0.25 * norm.ppf(0.001**1e-4))
    assert full.largest / 0.25 == pytest.approx(3.2, abs=0.01)
    assert float(lower_bound(torch.tensor(10_000), 10_000, 0.001)) == pytest.approx(0.001**1e-4)


def test_the_bound_is_that_of_clopper_and_pearson():
    from scipy.stats import binomtest

    for hits in (0, 1, 37, 99, 100):
        expected = binomtest(hits, 100, alternative="greater").proportion_ci(0.95, method="exact").low
        assert float(lower_bound(torch.tensor(hits), 100, 0.05)) == pytest.approx(expected, abs=1e-12)


def test_radii_of_a_plane_are_its_distance():
    """The true radius of a plane is the distance; the certified one is a little smaller."""
    data = cloud()
    found = certify(Half(), data, Smoothing(0.5, draws=6000), batch=4000)
    distance = (data.values.flatten(1)[:, 0] - 0.5).abs()
    assert found.size == 4
    for certified, true in zip(found.radii, distance.tolist(), strict=True):
        assert true - 0.06 < certified < true + 0.01 or (certified == 0 and true < 0.06)
    assert found.certified(L2(0.1)) == tuple(r > 0.1 for r in found.radii)
    assert found.certified(Linf(0.05)) == tuple(r > 0.1 for r in found.radii), "a sample has four values"
    with pytest.raises(ValueError, match="does not certify"):
        found.certified(L1(0.1))


def test_counts_depend_on_neither_batch_nor_order():
    data = cloud()
    whole = certify(Half(), data, FEW)
    keep = {"lower", "predicted"}
    for batch in (5, 100):
        assert certify(Half(), data, FEW, batch=batch).model_dump(include=keep) == whole.model_dump(include=keep)
    order = torch.randperm(len(data), generator=generator(0, "order"))
    turned = certify(Half(), data.take(order), FEW, batch=7)
    assert turned.lower == tuple(whole.lower[i] for i in order.tolist())
    assert certify(Half(), data, FEW, seed=1).lower != whole.lower


class Killed(Exception):
    pass


def test_an_interrupted_count_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(voting, "SECONDS", 0)
    data, state = cloud(), tmp_path / "state"
    whole = certify(Half(), data, FEW)

    def stop(_, share):
        if share > 0.3:
            raise Killed

    with pytest.raises(Killed):
        certify(Half(), data, FEW, batch=24, state=state, on_progress=stop)
    assert state.exists()
    with pytest.raises(ValueError, match="another network"):
        certify(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), data, FEW, state=state)
    told = []
    again = certify(Half(), data, FEW, batch=9, state=state, on_progress=lambda _, share: told.append(share))
    assert told[0] > 0.3
    assert again.lower == whole.lower
    assert not state.exists()


def test_noise_belongs_to_sample_and_draw_and_is_not_clipped():
    x = torch.zeros(3, 1, 2, 2)
    seeds = image_seeds(torch.tensor([4, 5, 4]), 0, "smoothing", 7)
    noisy = Gaussian(0.5)(x, noise(seeds))
    assert torch.equal(noisy[0], noisy[2])
    assert not torch.equal(noisy[0], noisy[1])
    assert noisy.min() < 0
    many = Gaussian(2.0)(torch.zeros(200, 500), noise(image_seeds(torch.arange(200), "moments")))
    assert float(many.mean()) == pytest.approx(0, abs=0.02)
    assert float(many.std()) == pytest.approx(2, abs=0.02)


def test_abstaining_is_wrong_and_a_network_without_an_answer_abstains():
    class Silent(nn.Module):
        def forward(self, x):
            first = x.flatten(1)[:, 0]
            return torch.stack([torch.where(first == first.round(), first, torch.nan), -first], 1)

    data = Samples(torch.zeros(2, 1, 1, 4), torch.tensor([0, 0]), 2)
    found = certify(Silent(), data, Smoothing(0.5, draws=50, first=10))
    assert found.predicted == (ABSTAINS, ABSTAINS)
    assert found.abstained == 2
    assert found.accuracy(L2(0.0)) == 0
    assert found.radii == (0.0, 0.0)


def test_the_risk_is_told_per_sample_and_in_total():
    found = certify(Half(), cloud(), FEW)
    assert (found.alpha, found.passes) == (0.001, 90)
    assert found.expected_wrong == pytest.approx(0.012)
    assert found.family_alpha == pytest.approx(0.012)
    assert type(found).model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"alpha": 1}, {"alpha": 0}, {"draws": 0}, {"first": 0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Smoothing(**wrong)


def test_methods_are_named():
    assert method("Smoothing(0.5, draws=1000)") == Smoothing(0.5, 1000)
    with pytest.raises(ValueError, match="is a threat"):
        method("L2(0.5)")
    with pytest.raises(ValueError, match=r"unknown method .* known: Intervals, Smoothing, SparseSmoothing$"):
        certify(Half(), cloud(), "Smothing(1)")
    with pytest.raises(ValueError, match="method must be"):
        certify(Half(), cloud(), L2(0.5))


def test_the_attack_finds_what_a_plane_gives_away_and_nothing_that_is_certified():
    """Beyond the distance every sample of a plane falls, below it none."""
    data = cloud(24)
    distance = (data.values.flatten(1)[:, 0] - 0.5).abs()
    settings = Smoothing(0.25, draws=2000, first=50)
    adv, broken = attack_smoothed(Half(), data, L2(0.2), settings, copies=64, batch=24)
    assert L2(0.2).contains(adv, data.values).all()
    assert broken[distance < 0.15].all()
    assert not broken[distance > 0.2].any()
    held = torch.tensor(certify(Half(), data, settings, batch=4000).certified(L2(0.2)))
    assert not (held & broken).any()


def test_an_undecided_vote_breaks_nothing():
    assert decided(torch.tensor([[52, 48], [90, 10], [0, 0], [10, 90]]), 0.001).tolist() == [ABSTAINS, 0, ABSTAINS, 1]


def test_the_radius_grows_with_the_probability():
    found = [radius(p, 0.5) for p in (0.3, 0.5, 0.6, 0.9, 0.9999)]
    assert found == sorted(found)
    assert found[:2] == [0, 0]


def test_a_spiking_network_is_certified_like_any_other(net, images, labels):
    found = certify(net, (images, labels), Smoothing(0.1, draws=60, first=10), batch=32)
    assert found.predicted == certify(net, (images, labels), Smoothing(0.1, draws=60, first=10), batch=8).predicted
    with pytest.raises(ValueError, match="batch"):
        certify(net, (images, labels), batch=0)


@dataclass(frozen=True)
class OneOfTwo(Team):
    """One of two processes, which hears nothing of the other."""

    place: int = 0

    size = property(lambda self: 2)
    rank = property(lambda self: self.place)

    def total(self, value, how="sum"):
        return value


def test_two_processes_share_the_samples():
    """What each counts adds up to what one process counts."""
    data = cloud(7)
    teams = OneOfTwo(place=0), OneOfTwo(place=1), Team()
    *parts, whole = (poll(Task(Half(), data, 0, 3, team, None, "", print), Gaussian(0.5), 5, 20) for team in teams)
    assert torch.equal(parts[0].counted + parts[1].counted, whole.counted)
    assert torch.equal(parts[0].first + parts[1].first, whole.first)
    assert (parts[0].counted[1::2] == 0).all()
