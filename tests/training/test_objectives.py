"""Objectives: each is its formula (method.md section 2 and 4), written out here a second time, inner attack included."""

from __future__ import annotations

from copy import deepcopy
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.attacks import PGD
from robustsnn.conversion import folded
from robustsnn.seeds import generator
from robustsnn.threats import L2, Linf
from robustsnn.training import (
    OBJECTIVES,
    Adversarial,
    FastAdversarial,
    Hire,
    Mart,
    Natural,
    RobustFinetuning,
    Trades,
    WeightPerturbed,
    objective,
)
from robustsnn.training.objectives import mart_loss, trades_loss, within

EPS, STEPS, ALPHA = 0.1, 3, 0.04
ROBUST = [
    Adversarial(eps=EPS, steps=STEPS),
    Trades(beta=6, eps=EPS, steps=STEPS),
    Mart(beta=4, eps=EPS, steps=STEPS),
    RobustFinetuning(eps=EPS, alpha=ALPHA, beta=2),
]
EVERY = [Natural(), *ROBUST]


def rng():
    return generator(0, "test objectives")


def ce(logits, y):
    return -logits.log_softmax(1)[range(len(y)), y]


def kl(p, q):
    p, q = p.log_softmax(1), q.log_softmax(1)
    return (p.exp() * (p - q)).sum(1)


def by_hand(objective, net, x, y):
    """The loss of an objective, from a network in train mode."""
    match objective:
        case Natural():
            return ce(net(x), y).mean()
        case Adversarial():
            return ce(net(adversarial(objective, net, x, y)), y).mean()
        case Mart(beta=beta):
            adv = adversarial(objective, net, x, y)
            clean, moved = net(x), net(adv)
            p, q = clean.softmax(1), moved.softmax(1)
            boosted = ce(moved, y).mean() + margin(q, y)
            return boosted + beta * (kl(clean, moved) * (1.0000001 - p[range(len(y)), y])).mean()
        case Trades(beta=beta) | RobustFinetuning(beta=beta):
            adv = adversarial(objective, net, x, y)
            clean, moved = net(x), net(adv)
            return ce(clean, y).mean() + beta * kl(clean, moved).mean()
    raise AssertionError(f"no formula for {objective}")


def margin(probabilities, y):
    """``-log(1.0001 - p + 1e-12)`` of the strongest wrong class, averaged over the images."""
    wrong = [max(p for k, p in enumerate(row) if k != label) for row, label in zip(probabilities, y, strict=True)]
    return -torch.log(1.0001 - torch.stack(wrong) + 1e-12).mean()


def adversarial(objective, net, x, y):
    """The inner maximisation by hand, on a copy of the network in eval mode."""
    net, draw = deepcopy(net).eval(), rng()
    clean = net(x).detach()

    def climb(adv, step, loss):
        adv = adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(net(adv)).sum(), adv)
        return (adv.detach() + step * gradient.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)

    if isinstance(objective, RobustFinetuning):
        start = (x + ALPHA * torch.randn(x.shape, generator=draw).sign()).clamp(0, 1)
        return climb(start, EPS - ALPHA, lambda z: kl(clean, z))
    if isinstance(objective, Adversarial):
        start = x + EPS * (2 * torch.rand(x.shape, generator=draw) - 1)
    else:
        start = x + 0.001 * torch.randn(x.shape, generator=draw)
    adv = start.clamp(x - EPS, x + EPS).clamp(0, 1)
    for _ in range(STEPS):
        adv = climb(adv, 2.5 * EPS / STEPS, lambda z: kl(clean, z) if isinstance(objective, Trades) else ce(z, y))
    return adv


@pytest.fixture(params=["ann", "net"])
def network(request):
    """An ANN and an SNN, in train mode."""
    return request.getfixturevalue(request.param).train()


@pytest.mark.parametrize("objective", EVERY, ids=str)
def test_loss_and_gradient_are_those_of_the_formula(objective, network, images, labels):
    twin = deepcopy(network)
    expected = by_hand(objective, twin, images, labels)
    loss = objective(network, images, labels, rng=rng())
    torch.testing.assert_close(loss, expected)
    expected.backward()
    loss.backward()
    for (name, parameter), other in zip(network.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("objective", EVERY, ids=str)
def test_batch_norms_see_the_outer_forwards_and_nothing_else(objective, network, images, labels):
    twin = deepcopy(network)
    by_hand(objective, twin, images, labels)
    objective(network, images, labels, rng=rng())
    assert any("running" in name for name, _ in network.named_buffers())
    for (name, buffer), expected in zip(network.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(buffer, expected), name


@pytest.mark.parametrize("objective", [Trades(beta=0, eps=EPS), RobustFinetuning(EPS, ALPHA, beta=0)], ids=str)
def test_without_weight_on_the_divergence_the_plain_loss_is_left(objective, network, images, labels):
    plain = Natural()(network, images, labels, rng=rng())
    assert torch.equal(objective(network, images, labels, rng=rng()), plain)


def test_without_its_divergence_mart_is_boosted_cross_entropy(network, images, labels):
    objective = Mart(beta=0, eps=EPS, steps=STEPS)
    moved = deepcopy(network)(adversarial(objective, network, images, labels))
    expected = ce(moved, labels).mean() + margin(moved.softmax(1), labels)
    torch.testing.assert_close(objective(network, images, labels, rng=rng()), expected)


@pytest.mark.parametrize("objective", [Trades(eps=0), RobustFinetuning(eps=0, alpha=0)], ids=str)
def test_in_a_ball_without_radius_nothing_diverges(objective, net, images, labels):
    start = torch.full_like(images, 0.5)
    loss = objective(net.eval(), start, labels, rng=rng())
    torch.testing.assert_close(loss, Natural()(net, start, labels, rng=rng()))


@pytest.mark.parametrize("objective", ROBUST, ids=str)
def test_the_inner_attack_leaves_the_network_as_it_was(objective, network, images, labels, unchanged):
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    with unchanged(network):
        objective.crafted(folded(network), images, labels, rng())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in network.parameters())


def test_the_inner_attack_meets_a_network_in_eval_mode(network, images, labels):
    flags = []

    class Spy(PGD):
        def __call__(self, model, x, y, threat, *, rng, judge=None):
            flags.extend(module.training for module in model.modules())
            return x

    class Spying(Adversarial):
        def attack(self):
            return Spy()

    Spying()(network, images, labels, rng=rng())
    assert flags
    assert not any(flags)
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("objective", ROBUST, ids=str)
def test_the_generator_decides_the_adversarial_image(objective, net, images, labels):
    first, again, other = (
        objective.crafted(folded(net), images, labels, generator(seed, "test objectives")) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4)


@given(LOGITS, LOGITS, st.integers(0, 3), st.floats(0, 10))
def test_mart_of_one_image_is_the_sum_of_its_three_terms(clean, moved, label, beta):
    clean, moved, y = torch.tensor([clean]), torch.tensor([moved]), torch.tensor([label])
    expected = ce(moved, y)[0] + margin(moved.softmax(1), y)
    expected += beta * kl(clean, moved)[0] * (1.0000001 - clean.softmax(1)[0, label])
    torch.testing.assert_close(mart_loss(clean, moved, y, beta), expected, rtol=1e-4, atol=1e-4)


def test_mart_pushes_down_the_strongest_wrong_class_even_behind_the_true_one():
    moved = torch.tensor([[4.0, 1.0, 3.0, 0.0]], requires_grad=True)
    loss = mart_loss(torch.zeros(1, 4), moved, torch.tensor([0]), beta=0.0)
    p = moved.detach().softmax(1)[0]
    assert loss.item() == pytest.approx(-log(p[0]) - log(1.0001 - p[2]), abs=1e-5)


@given(LOGITS, st.integers(0, 3), st.floats(0, 10))
def test_trades_of_equal_answers_is_cross_entropy(logits, label, beta):
    z, y = torch.tensor([logits]), torch.tensor([label])
    torch.testing.assert_close(trades_loss(z, z, y, beta), ce(z, y).mean())


def test_defaults_are_the_published_constants():
    published = [
        Natural(),
        Adversarial(eps=2 / 255, steps=10),
        FastAdversarial(eps=2 / 255),
        Trades(beta=6, eps=2 / 255, steps=10),
        Mart(beta=4, eps=2 / 255, steps=10),
        WeightPerturbed(Trades(beta=6, eps=2 / 255, steps=10), gamma=0.005),
        RobustFinetuning(eps=2 / 255, alpha=1 / 255, beta=2),
        Hire(eps=2 / 255, periods=2),
    ]
    assert [OBJECTIVES[type(each).__name__]() for each in published] == published
    assert list(OBJECTIVES) == [make.__name__ for make in OBJECTIVES.values()]


AGAINST_L2 = [
    Adversarial(threat=L2(0.5)),
    Trades(threat=L2(0.5), steps=2),
    Mart(threat=L2(0.5), steps=2),
    FastAdversarial(threat=L2(0.5)),
    RobustFinetuning(threat=L2(0.5), alpha=0.25),
]


@pytest.mark.parametrize("objective", AGAINST_L2, ids=str)
def test_an_objective_trains_against_the_threat_it_names(objective, net, images, labels):
    assert (objective.eps, within(objective)) == (0.5, L2(0.5))
    moved = objective.crafted(folded(net), images, labels, rng())
    assert L2(0.5).contains(moved, images).all()
    assert (moved != images).flatten(1).any(1).all()
    assert objective(net.train(), images, labels, rng=rng()).isfinite()


def test_eps_is_the_radius_of_the_linf_ball_and_no_second_word_on_another_threat(unchecked):
    assert within(Trades(eps=0.1)) == within(Trades(threat=Linf(0.1))) == within(WeightPerturbed(Trades(eps=0.1))) == Linf(0.1)
    assert objective("Trades(beta=3, threat=L2(0.5))") == Trades(beta=3, threat=L2(0.5)) == Trades(3, 0.5, threat=L2(0.5))
    with pytest.raises(ValueError, match=r"give either eps, for L-infinity, or threat=L2\(eps=0.5\), not both"):
        Trades(eps=0.1, threat=L2(0.5))
    with pytest.raises(ValueError, match="threat of Trades must be a threat such as"):
        Trades(threat=Natural())
    with pytest.raises(ValueError, match=r"write Trades\(threat=L2\(0.5\)\)"):
        objective("L2(0.5)")
