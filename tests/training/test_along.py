"""Attacks of training along gradient paths: which one a batch follows, and what it finds."""

import pytest
import torch
from torch import nn

from robustsnn.spiking import Adaptive, Analog, Dynamics, Rate, SpikingNetwork, Surrogate, Triangle
from robustsnn.training import Along, Natural, RobustFinetuning, Trades, objective

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y, SEEDS = torch.arange(6) % 3, torch.arange(6)
INNER = RobustFinetuning(eps=0.2, alpha=0.1)


def net():
    return SpikingNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)), Dynamics(3))


def test_the_networks_own_surrogate_gives_the_objective_itself():
    model = net()
    assert torch.equal(Along(INNER, (Surrogate(Triangle(1.0)),))(model, X, Y, rng=SEEDS), INNER(model, X, Y, rng=SEEDS))


@pytest.mark.parametrize("path", [Surrogate(Triangle(0.1)), Rate(), Analog(), Adaptive(0.43)], ids=str)
def test_another_path_gives_another_loss_through_the_same_network(path):
    model = net()
    loss = Along(INNER, (path,))(model, X, Y, rng=SEEDS)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_path_has_its_turn_and_seeds_decide():
    model, paths = net(), (Surrogate(Triangle(0.1)), Surrogate(Triangle(3.0)), Analog())
    several = Along(INNER, paths)
    for first in range(3):
        seeds = SEEDS + first
        assert torch.equal(several(model, X, Y, rng=seeds), Along(INNER, (paths[first],))(model, X, Y, rng=seeds))


def test_it_is_spelled_with_its_paths():
    found = objective("Along(Trades(beta=2, eps=8/255, steps=2), [Surrogate(Triangle(0.5)), Rate, Adaptive(0.43)])")
    assert found == Along(Trades(2, 8 / 255, 2), (Surrogate(Triangle(0.5)), Rate(), Adaptive(0.43)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("inner", "paths"), [(Natural(), (Rate(),)), (INNER, ()), (INNER, ("Rate",))])
def test_what_is_not_robust_or_not_a_path_is_refused(inner, paths):
    with pytest.raises(ValueError, match="Along"):
        Along(inner, paths)


def test_a_path_alone_is_not_an_objective():
    with pytest.raises(ValueError, match="Along"):
        objective("Rate()")
