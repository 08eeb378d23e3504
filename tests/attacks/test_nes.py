"""Gradients from queries: they point up, they cost what they say, and an image's flag is its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustsnn.attacks import NES, PGD, Margin, UniformNoise
from robustsnn.seeds import image_seeds
from robustsnn.threats import Linf

EPS = 0.1
SEEDS = image_seeds(torch.arange(6), 0, "test")
FEW = NES(queries=200, samples=10)


class Steps(nn.Module):
    """A linear answer to pixels rounded to levels: no gradient anywhere, and a slope that queries see."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(128, 4)
        self.asked = []

    def forward(self, x):
        self.asked.append((len(x), torch.is_grad_enabled()))
        return self.weights((x * 40).round().flatten(1) / 40)


def slope_of(net, y):
    """Signs of the margin's true gradient, the runner-up being the same all along."""
    logits = net.weights.bias.expand(len(y), -1).scatter(1, y[:, None], -torch.inf)
    return (net.weights.weight[logits.argmax(1)] - net.weights.weight[y]).sign().view(-1, 2, 8, 8)


def test_it_climbs_where_there_is_no_gradient():
    net, x, y = Steps(), torch.full((6, 2, 8, 8), 0.5), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        net.weights.bias.copy_(torch.tensor([3.0, 2.0, 1.0, 0.0]))
        net.weights.bias[:] *= 10  # nobody is misclassified, and the runner-up stays
    y = torch.zeros(6, dtype=torch.int64)
    adv = NES(queries=2000)(net, x, y, Linf(EPS), rng=SEEDS)
    assert ((adv - x).sign() == slope_of(net, y)).float().mean() > 0.85
    assert (adv - x).abs().max() <= EPS + 1e-6


@pytest.mark.parametrize("index", [[3, 1], [5, 4, 3, 2, 1, 0], [2]])
def test_neither_batch_nor_order_decides_what_becomes_of_an_image(index, net, images, labels):
    everyone = FEW(net, images, labels, Linf(EPS), rng=SEEDS)
    torch.testing.assert_close(FEW(net, images[index], labels[index], Linf(EPS), rng=SEEDS[index]), everyone[index])


def test_broken_images_leave_and_the_others_do_not_notice(net, images):
    labels, seen = net(images).argmax(1), []
    whole = FEW(net, images, labels, Linf(EPS), rng=SEEDS, judge=lambda adv, index: torch.zeros(len(adv), dtype=torch.bool))

    def judge(adv, index):
        seen.append(index.tolist())
        return index == 2

    adv = FEW(net, images, labels, Linf(EPS), rng=SEEDS, judge=judge)
    others = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(adv[others], whole[others])
    assert seen == [[0, 1, 2, 3, 4, 5], *[others.tolist()] * 19]


def test_it_asks_as_often_as_it_says_and_in_batches_no_larger_than_the_images_or_one_step():
    net, x = Steps(), torch.rand(6, 2, 8, 8)
    FEW(
        net,
        x,
        torch.zeros(6, dtype=torch.int64),
        Linf(EPS),
        rng=SEEDS,
        judge=lambda adv, _: torch.zeros(len(adv), dtype=torch.bool),
    )
    assert sum(count for count, _ in net.asked) == 6 * 200
    assert max(count for count, _ in net.asked) == 10
    assert not any(graph for _, graph in net.asked)


def test_without_a_judge_it_stops_where_the_model_errs(net, images):
    labels = net(images).argmax(1)
    broken = net(NES(queries=1000, samples=10)(net, images, labels, Linf(0.5), rng=SEEDS)).argmax(1) != labels
    noisy = net(UniformNoise()(net, images, labels, Linf(0.5), rng=SEEDS)).argmax(1) != labels
    assert broken.sum() > noisy.sum()


def test_it_begins_where_another_attack_ended(net, images):
    labels, starts = net(images).argmax(1), []

    def judge(adv, index):
        starts.append((adv.clone(), index.tolist()))
        return (index == 4) & (len(starts) == 4)

    adv = replace(FEW, after=PGD(steps=3), first=1e-6, last=1e-6)(net, images, labels, Linf(EPS), rng=SEEDS, judge=judge)
    assert [index for _, index in starts[:5]] == [*[list(range(6))] * 4, [0, 1, 2, 3, 5]]
    assert torch.equal(adv[4], starts[3][0][4]), "what gradients broke stays as it is"
    torch.testing.assert_close(adv, starts[3][0], rtol=0, atol=1e-5)
    assert (adv - images).abs().max() > EPS / 2


def far_and_near():
    """A linear answer, and two images: within the radius the first stays far from the other class, the second reaches it."""
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        net.bias.zero_()
    x = torch.tensor([[0.9, 0.1], [0.55, 0.5]])
    return net, x, torch.tensor([0, 0])


def asked_of(attack, net, x, y):
    """How often an attack asks of each image alone, and what it asks."""
    counts = []
    for i in range(len(x)):
        asked = []
        hook = net.register_forward_pre_hook(lambda _, inputs, asked=asked: asked.append(len(inputs[0])))
        attack(net, x[[i]], y[[i]], Linf(0.02), rng=SEEDS[[i]], judge=lambda adv, _: torch.zeros(len(adv), dtype=torch.bool))
        hook.remove()
        counts.append(sum(asked))
    return counts


def test_an_image_that_stays_far_from_every_other_class_is_given_up_after_an_eighth():
    patient, hasty = (asked_of(replace(FEW, queries=320, give_up=share), *far_and_near()) for share in (1.0, 0.5))
    assert patient == [320, 320]
    assert hasty == [1 + 40 + 1, 1 + 320 + 1], "the clean margin, the steps, and one look"


def test_what_another_attack_brought_no_nearer_is_given_up_at_once():
    led = replace(FEW, queries=320, after=PGD(steps=3))
    patient, hasty = (asked_of(replace(led, give_up=share), *far_and_near()) for share in (1.0, 0.5))
    assert patient == [323, 323]
    assert hasty == [1 + 3 + 1, 1 + 3 + 1 + 320 + 1]


def test_restarts_search_elsewhere(net, images):
    labels = net(images).argmax(1)
    margin = Margin().on(net, images, labels)
    worth = [margin(net(replace(FEW, restarts=n)(net, images, labels, Linf(EPS), rng=SEEDS)), torch.arange(6)) for n in (1, 3)]
    assert (worth[1] >= worth[0]).all()
    assert (worth[1] > worth[0]).any()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"queries": 0}, "queries of NES must be a whole number of at least 1"),
        ({"samples": 3}, "samples of NES must be even"),
        ({"queries": 10, "samples": 20}, r"at most queries \(10\)"),
        ({"spread": 0}, "spread of NES"),
        ({"give_up": 1.5}, "give_up of NES"),
    ],
)
def test_a_figure_out_of_range_is_named(fields, line):
    with pytest.raises(ValueError, match=line):
        NES(**fields)
