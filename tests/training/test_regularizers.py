"""Regularisers: each is its formula, composes with any objective, and vanishes at weight 0."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics, SpikingNetwork, Triangle
from robustsnn.training import (
    MembraneMargin,
    Natural,
    PotentialOverlap,
    Regularized,
    SparseGradients,
    Trades,
    objective,
)

EVERY = [SparseGradients(), MembraneMargin(), PotentialOverlap()]


def one_layer(threshold=1.0, timesteps=2):
    """Neurons that receive the pixels themselves: ``[N, 1, 1, 2] -> [N, 2]``."""
    body = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(2, 2))
    return SpikingNetwork(body, Dynamics(timesteps, surrogate=Triangle(1.0))).replace({"1": threshold})


@pytest.mark.parametrize("regularizer", EVERY, ids=str)
def test_at_weight_0_only_the_objective_is_left(regularizer, net, images, labels):
    plain, composed = (
        loss(net, images, labels, rng=generator(0, "test"))
        for loss in (Trades(eps=0.1, steps=2), Regularized(Trades(eps=0.1, steps=2), regularizer, 0.0))
    )
    assert torch.equal(plain, composed)


@pytest.mark.parametrize("regularizer", EVERY, ids=str)
def test_weighted_it_is_added_and_trains_the_network(regularizer, net, images, labels):
    plain = Natural()(net, images, labels, rng=generator(0, "test"))
    term = regularizer(net, images, labels)
    composed = Regularized(Natural(), regularizer, 3.0)(net, images, labels, rng=generator(0, "test"))
    torch.testing.assert_close(composed, plain + 3 * term)
    term.backward()
    assert term > 0
    assert all(threshold.grad is not None for threshold in net.thresholds.values())


def test_the_margin_is_its_formula_on_hand_made_potentials():
    x = torch.tensor([[[[0.4, 0.9]]]])  # potentials 0.4, 0.8 and 0.9, 1.8: distances 0.6, 0.2, 0.1, 0.8
    value = MembraneMargin(delta=0.5)(one_layer(), x, torch.tensor([0]))
    assert value.item() == pytest.approx((0 + 0.3 + 0.4 + 0) / 4)


def test_the_overlap_is_the_normal_mass_of_the_window():
    x = torch.rand(50, 1, 1, 2, generator=generator(0, "test"))
    distance = x.flatten() - 1.0
    normal = torch.distributions.Normal(distance.mean(), distance.std())
    expected = normal.cdf(torch.tensor(0.25)) - normal.cdf(torch.tensor(-0.25))
    value = PotentialOverlap(window=0.5)(one_layer(timesteps=1), x, torch.zeros(50, dtype=torch.int64))
    assert value.item() == pytest.approx(expected.item(), abs=1e-5)


def test_sparse_gradients_estimate_the_squared_l1_norm_of_the_gradient_of_the_ratio():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    x = torch.rand(5, 1, 2, 2, dtype=torch.float64, generator=generator(0, "test"))
    y = torch.tensor([0, 1, 2, 0, 1])
    pixels = x.clone().requires_grad_()
    p = linear(pixels).softmax(1)
    true = p[range(5), y]
    ratio = true / p.scatter(1, y[:, None], -1.0).amax(1)
    (gradient,) = torch.autograd.grad(ratio.sum(), pixels)
    expected = gradient.abs().flatten(1).sum(1).square().mean()
    assert SparseGradients(h=1e-6)(linear, x, y).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("regularizer", [MembraneMargin(), PotentialOverlap()], ids=str)
def test_potentials_need_spikes(regularizer, ann, images, labels):
    with pytest.raises(ValueError, match="SpikingNetwork"):
        regularizer(ann, images, labels)


@pytest.mark.parametrize(
    "text", ["SparseGradients()", "Regularized(Natural(), MembraneMargin(), -1)", "MembraneMargin(delta=0)"]
)
def test_a_regulariser_alone_or_out_of_range_is_no_objective(text):
    with pytest.raises(ValueError, match=r"Regularized|regulariser|delta"):
        objective(text)


@pytest.mark.parametrize(
    "text",
    [
        "Regularized(MembraneMargin(), Natural(), 0.1)",
        "Regularized(Natural(), Trades(), 0.1)",
        "Regularized(SparseGradients(), MembraneMargin(), 0.1)",
        "Regularized(Natural(), 3, 0.1)",
    ],
)
def test_what_is_no_objective_or_no_regulariser_in_its_place_is_refused(text):
    with pytest.raises(ValueError, match="in this order"):
        objective(text)
