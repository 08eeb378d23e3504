"""Objectives for certificates: each is its formula, and short trainings raise what they are for."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn import L2, Linf, Triangle, certify, train
from robustsnn.attacks import PGD
from robustsnn.certification import Intervals, Smoothed, bounds
from robustsnn.certification.smoothing import Gaussian
from robustsnn.certification.sparse import Bits
from robustsnn.conversion import folded, spiking
from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.spiking import LIF, Dynamics
from robustsnn.training import FlippedEvents, GaussianNoise, ProvenMargin, Schedule, SmoothAdv, ThresholdFloor, objective

pytestmark = pytest.mark.usefixtures("unchecked")


def seeds(x):
    return image_seeds(torch.arange(len(x)), "test")


def test_gaussian_noise_is_the_cross_entropy_on_noisy_images(net, images, labels):
    noisy = images + 0.3 * noise(seeds(images)).normal(images)
    assert noisy.min() < 0
    expected = F.cross_entropy(net(noisy), labels)
    torch.testing.assert_close(GaussianNoise(0.3)(net, images, labels, rng=seeds(images)), expected)


def test_flipped_events_is_the_cross_entropy_on_flipped_bits(net, images, labels):
    frames = (images > 0.5).float()
    flipped = Bits(0.1, 0.4)(frames, noise(seeds(images)))
    assert ((flipped == 0) | (flipped == 1)).all()
    expected = F.cross_entropy(net(flipped), labels)
    torch.testing.assert_close(FlippedEvents(0.1, 0.4)(net, frames, labels, rng=seeds(images)), expected)


def test_smooth_adv_attacks_the_mean_over_its_own_copies(net, images, labels):
    value, rng = SmoothAdv(0.2, steps=3, copies=4, threat=L2(0.5)), seeds(images)
    assert value.eps == 0.5
    view = Smoothed(folded(net), Gaussian(0.2), 4, rng)
    adv = PGD(3)(view, images, labels, L2(0.5), rng=rng)
    copies = view.noisy(adv)
    assert copies.shape == (24, 2, 8, 8)
    expected = F.cross_entropy(net(copies), labels.repeat(4))
    torch.testing.assert_close(value(net, images, labels, rng=rng), expected)
    assert torch.isfinite(value(net, images, labels, rng=generator(0, "other")))


def test_the_smoothed_view_is_the_mean_of_probabilities_and_follows_its_samples(net, images):
    view = Smoothed(net, Gaussian(0.2), 3, seeds(images))
    copies = net(view.noisy(images)).softmax(1).unflatten(0, (3, 6)).mean(0)
    torch.testing.assert_close(view(images).softmax(1), copies)
    view.begin(6)
    view.follow(torch.tensor([4, 1]))
    torch.testing.assert_close(view(images[[4, 1]]).softmax(1), copies[[4, 1]])


def test_proven_margin_is_the_cross_entropy_of_the_worst_logits(net, images, labels):
    value = ProvenMargin(0.02, weight=0.25)
    margins = bounds(net, images, Linf(0.02), slack=0.0).margins(labels)
    expected = 0.75 * F.cross_entropy(net(images), labels) + 0.25 * F.cross_entropy(-margins, labels)
    torch.testing.assert_close(value(net, images, labels, rng=None), expected)


def test_the_radius_and_the_weight_grow():
    value = ProvenMargin(0.1, weight=0.5, ramp=0.5)
    assert [value.at(share).eps for share in (0, 0.25, 0.5, 0.9)] == pytest.approx([0, 0.05, 0.1, 0.1])
    assert [value.at(share).weight for share in (0, 0.25, 0.5, 0.9)] == pytest.approx([0, 0.25, 0.5, 0.5])
    assert ProvenMargin(threat=L2(0.4)).at(0.25).threat == L2(0.2)
    assert ProvenMargin(0.1, ramp=0.0).at(0.0).eps == 0.1


def test_a_training_grows_the_radius_with_its_epochs(monkeypatch):
    asked = []
    real = ProvenMargin.at
    monkeypatch.setattr(ProvenMargin, "at", lambda self, share: asked.append(share) or real(self, share))
    x = torch.rand(40, 1, 2, 2, generator=generator(0, "x"))
    train(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (x, torch.arange(40) % 2), objective=ProvenMargin(), schedule=Schedule(4)
    )
    assert sorted(set(asked)) == [0, 0.25, 0.5, 0.75]


def test_training_on_the_proven_margin_raises_what_is_proven():
    """Two classes apart by the mean of their pixels."""
    rng = generator(0, "apart")
    y = torch.arange(96) % 2
    x = (0.25 + 0.5 * y.float()).view(-1, 1, 1, 1) + 0.1 * torch.randn(96, 1, 3, 3, generator=rng)
    x = x.clamp(0, 1)
    body = nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 2))
    net = spiking(body, x[:4], Dynamics(4, LIF(reset="subtract", start=0.5), Triangle(1.0)))
    schedule = Schedule(8, batch=24, lr=0.1)
    accuracies = []
    for value in ("GaussianNoise(0.05)", "ProvenMargin(0.15, weight=0.5, ramp=0.3)"):
        trained = deepcopy(net)
        train(trained, (x, y), (x, y), objective(value), schedule, after_step=[ThresholdFloor()])
        accuracies.append(certify(trained, (x, y), Intervals([Linf(0.15)])).accuracy(Linf(0.15)))
    assert accuracies[1] > max(0.6, accuracies[0] + 0.1)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("GaussianNoise(0)", "sigma"),
        ("FlippedEvents(1)", "plus"),
        ("SmoothAdv(copies=0)", "copies"),
        ("ProvenMargin(weight=2)", "weight"),
        ("ProvenMargin(0.1, threat=L2(0.2))", "not both"),
    ],
)
def test_values_out_of_range(text, match):
    with pytest.raises(ValueError, match=match):
        objective(text)
