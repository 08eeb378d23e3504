"""Weights that a network computes from other tensors: measured, attacked and exported as they are; never changed in place."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from robustsnn import convert, train
from robustsnn.compute import with_tensors
from robustsnn.data import Samples
from robustsnn.deploy import exported
from robustsnn.evaluation import operations
from robustsnn.models import own_weights, weight_layers, weight_of
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics
from robustsnn.training import Natural, Retraction, Schedule, Trades, WeightPerturbed
from robustsnn.training import prune as prune_weights

pytestmark = [pytest.mark.usefixtures("unchecked"), pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")]

X = torch.rand(6, 1, 4, 4, generator=generator(0, "test computed weights"))
DATA = Samples(X, torch.arange(6) % 3, 3)

COMPUTED = {
    "spectral": parametrizations.spectral_norm,
    "weight": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "weight, by a hook": weight_norm,
    "spectral, by a hook": spectral_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}
every_kind = pytest.mark.parametrize("kind", COMPUTED)


def body(kind):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), COMPUTED[kind](nn.Linear(8, 3)))


@every_kind
def test_it_converts_is_counted_and_leaves(kind):
    net = body(kind).eval()
    snn = convert(net, [X], Dynamics(2), calibration_timesteps=3).eval()
    assert snn(X).std() > 0
    assert set(operations(snn, DATA)) == {"1", "3"}
    assert operations(net, DATA)["3"].dense == (12 if kind == "pruned" else 24)
    assert torch.allclose(exported(snn, (1, 4, 4)).module()(X), snn(X), atol=1e-5)


@every_kind
def test_another_weight_takes_the_place_of_the_computed_one(kind):
    net = body(kind).eval()
    net(X)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    moved = torch.ones(3, 8, requires_grad=True)
    changed = with_tensors(net, {"3.weight": moved})
    torch.testing.assert_close(changed(X), net[2](net[1](X.flatten(1))) @ moved.T + net[3].bias)
    changed(X).sum().backward()
    assert moved.grad is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@every_kind
def test_awp_trains_it_at_a_moved_weight(kind, monkeypatch):
    net, seen = body(kind), []
    inner = Trades(beta=1, eps=0.1, steps=1)
    monkeypatch.setattr(
        Trades, "loss", lambda self, net, *given: seen.append(weight_of(weight_layers(net)["3"])) or net(X).sum()
    )
    WeightPerturbed(inner, gamma=0.1).loss(net, X, X, DATA.labels)
    there, moved = (weight.detach() for weight in seen)
    torch.testing.assert_close((moved - there).norm(), 0.1 * there.norm())


@every_kind
def test_it_is_not_changed_in_place(kind):
    for act in (own_weights, Retraction(), lambda net: prune_weights(net, 0.5)):
        with pytest.raises(ValueError, match=r"layer '3' computes its weight.*remove_parametrizations"):
            act(body(kind))


def frozen(*layers):
    net = body("weight")
    for layer in layers:
        net[layer].requires_grad_(False)
    return net


def test_what_is_frozen_is_said_and_nothing_at_all_is_refused():
    lines = []
    arguments = DATA, DATA, Natural(), Schedule(epochs=1, lr=0.1)
    train(frozen(1), *arguments, probe=None, on_warning=lines.append)
    assert "2 of 5 tensors (first: '1.weight') are frozen" in lines[0]
    with pytest.raises(ValueError, match="no tensor of Sequential can be trained"):
        train(frozen(1, 3), *arguments, probe=None)


def test_a_single_sample_that_is_left_joins_the_batch_before():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    five = DATA.first(5)
    sizes = [len(x) for x, _, _ in five.batches(2, generator(0, "order"))]
    assert sizes == [2, 3]
    assert [len(x) for x, _, _ in five.batches(2)] == [2, 2, 1]
    assert [len(x) for x, _, _ in five.first(1).batches(2, generator(0, "order"))] == [1]
    (epoch,) = train(net, five, DATA, Natural(), Schedule(epochs=1, lr=0.1, batch=2), probe=None)
    assert epoch.loss > 0
