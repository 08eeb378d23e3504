"""Smoothing of events: the table is the exact worst case, found by enumeration of all inputs of few bits."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn import Linf, certify
from robustsnn.attacks import SDA, EventPGD
from robustsnn.certification import SparseSmoothing, attack_smoothed, method
from robustsnn.certification.sparse import Bits, needed, table
from robustsnn.data import Samples
from robustsnn.seeds import image_seeds, noise
from robustsnn.threats.flips import Flips

pytestmark = pytest.mark.usefixtures("unchecked")
CHANCES = [(0.01, 0.6), (0.2, 0.2), (0.3, 0.1), (0.7, 0.6), (0.0, 0.4), (0.3, 0.0), (0.5, 0.5)]


def chances(x: np.ndarray, plus: float, minus: float) -> np.ndarray:
    """The probability of every noisy sample around ``x``, ``[2^bits]``."""
    each = [(1 - plus, plus) if not bit else (minus, 1 - minus) for bit in x]
    return functools.reduce(np.kron, each, np.ones(1))


def worst(p: float, x: np.ndarray, other: np.ndarray, plus: float, minus: float) -> float:
    """The least probability at ``other`` of any randomised classifier that has ``p`` at ``x``: the lemma of Neyman and
    Pearson, over all noisy samples one by one."""
    here, there = chances(x, plus, minus), chances(other, plus, minus)
    ratio = np.where(there > 0, here / np.where(there > 0, there, 1), np.inf)
    left, mass = p, 0.0
    for z in np.argsort(-ratio, kind="stable"):
        share = min(1.0, left / here[z]) if here[z] > 0 else 0.0
        left, mass = left - share * here[z], mass + share * there[z]
        if left <= 0:
            break
    return mass


@pytest.mark.parametrize(("plus", "minus"), CHANCES)
def test_the_table_is_the_exact_worst_case(plus, minus):
    """Twelve bits at most: just above what the table asks for, the worst classifier keeps 1/2, just below it does not."""
    for additions, deletions, bits in [
        (0, 0, 3),
        (1, 0, 6),
        (0, 1, 6),
        (1, 1, 6),
        (2, 1, 8),
        (0, 3, 8),
        (3, 2, 10),
        (4, 4, 12),
    ]:
        x = np.arange(bits) >= bits // 2
        other = x.copy()
        other[:additions] = True
        other[bits // 2 : bits // 2 + deletions] = False
        least = needed(additions, deletions, plus, minus)
        assert least >= 0.5 - 1e-12
        if least < 1 - 1e-9:
            assert worst(min(1.0, least + 1e-7), x, other, plus, minus) > 0.5 - 1e-6
            assert worst(least, x, other, plus, minus) == pytest.approx(0.5, abs=1e-9)
        assert worst(least - 1e-3, x, other, plus, minus) < 0.5


@given(st.integers(0, 2**32 - 1), st.sampled_from(CHANCES[:4]), st.integers(3, 6))
@settings(max_examples=10)
def test_no_classifier_breaks_its_certificate(seed, noise, bits):
    """Arbitrary base classifiers: a class with probability p at x keeps the majority wherever the table says so."""
    plus, minus = noise
    rng = np.random.default_rng(seed)
    every = np.array([*itertools.product((False, True), repeat=bits)])
    distribution = np.stack([chances(x, plus, minus) for x in every])
    answers = rng.random(2**bits) < rng.choice([0.3, 0.7, 0.9, 0.97])
    probability = distribution @ answers
    least = table(plus, minus, (bits, bits))
    for place, x in enumerate(every):
        added = (every & ~x).sum(1)
        removed = (~every & x).sum(1)
        certified = probability[place] > least[added, removed] + 1e-9
        assert (probability[certified] > 0.5).all()


def test_the_table_grows_with_the_changes():
    least = table(0.05, 0.5, (6, 12))
    assert least[0, 0] == pytest.approx(0.5)
    assert (np.diff(least, axis=0) >= 0).all()
    assert (np.diff(least, axis=1) >= 0).all()
    assert least[1, 0] > least[0, 1], "with little noise on empty places, an addition costs more than a deletion"


class Count(nn.Module):
    """Class 1 where more than ``edge`` events are left."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x):
        events = x.flatten(1).sum(1) - self.edge
        return torch.stack([-events, events], 1)


def frames(events, size=24):
    values = torch.zeros(len(events), 3, 1, 2, size // 6)
    for row, count in zip(values.flatten(1), events, strict=True):
        row[:count] = 1
    return Samples(values, torch.tensor([int(count > 12) for count in events]), 2)


def test_certificates_of_frames():
    data, settings = frames([2, 11, 13, 22]), SparseSmoothing(0.1, 0.1, draws=2500, first=20)
    found = certify(Count(12.5), data, settings, batch=1000)
    assert found.events == (2, 11, 13, 22)
    assert found.certified(Flips(0.0)) == found.correct == found.changed(0, 0)
    assert found.certified(Flips(2))[0]
    assert found.certified(Flips(2))[3]
    assert not found.certified(Flips(2))[2]
    assert found.certified(Flips(1000)) == (False,) * 4
    assert found.certified(Flips(0.04)) == found.correct, "4 % of 22 events are none"
    accuracies = np.array(found.accuracies)
    assert accuracies.shape == (11, 21)
    assert accuracies[0, 0] == sum(found.correct) / 4
    assert accuracies[1, 2] == sum(found.changed(1, 2)) / 4
    with pytest.raises(ValueError, match="table ends at 10"):
        found.changed(11, 0)
    for other in (Linf(0.1), Flips(1.0, most=2)):
        with pytest.raises(ValueError, match="does not certify"):
            found.certified(other)
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_attacks_on_the_smoothed_network_follow_the_gradient_of_the_flipped_bits():
    data, settings = frames([2, 5, 20, 22]), SparseSmoothing(0.1, 0.1, draws=2500, first=20)
    held = torch.tensor(certify(Count(12.5), data, settings, batch=1000).certified(Flips(2)))
    assert held.any()
    for budget, breaks, attack in ((2, False, EventPGD(10)), (14, True, EventPGD(10)), (14, True, SDA(rounds=6))):
        adv, broken = attack_smoothed(Count(12.5), data, Flips(budget), settings, attack)
        assert Flips(budget).contains(adv, data.values).all()
        assert broken.tolist() == [breaks] * 4
    x = data.values.clone().requires_grad_()
    Bits(0.1, 0.4)(x, noise(torch.arange(4))).sum().backward()
    assert set(x.grad.unique().tolist()) == {-1.0, 0.0, 1.0}, "a value passes, is deleted or replaced, or becomes its opposite"


def test_a_pair_of_equal_numbers_covers_events_that_move():
    """Every sample with one event elsewhere has one addition and one deletion, or one deletion where the place is taken."""
    data, settings = frames([2, 22]), SparseSmoothing(0.1, 0.1, draws=2500, first=20)
    found = certify(Count(12.5), data, settings, batch=1000)
    assert found.changed(1, 1) == (True, True)
    assert all(found.changed(0, 1)), "a pair covers every smaller one"


def test_bits_flip_at_the_given_rates():
    x = torch.cat([torch.zeros(200, 500), torch.ones(200, 500)], 1)
    noisy = Bits(0.05, 0.3)(x, noise(image_seeds(torch.arange(200), "bits")))
    assert float(noisy[:, :500].mean()) == pytest.approx(0.05, abs=0.005)
    assert float(noisy[:, 500:].mean()) == pytest.approx(0.7, abs=0.005)
    assert set(noisy.unique().tolist()) == {0.0, 1.0}


def test_what_is_not_binary_or_without_noise():
    with pytest.raises(ValueError, match="needs binary frames"):
        certify(Count(1.0), (torch.rand(2, 1, 1, 4), torch.tensor([0, 1])), SparseSmoothing(draws=10, first=5))
    with pytest.raises(ValueError, match="needs noise"):
        SparseSmoothing(0.0, 0.0)
    assert method("SparseSmoothing(plus=0.02, minus=0.5)") == SparseSmoothing(0.02, 0.5)
