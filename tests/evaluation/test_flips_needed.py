"""How many flips a network withstands: against brute force, a median by hand, and nothing where flips mean nothing."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from scipy.stats import binom
from torch import nn

from robustsnn.attacks import EventPGD
from robustsnn.data import Samples
from robustsnn.evaluation import Audit, Group, Protocol, Report, Row, evaluate
from robustsnn.evaluation.intervals import median
from robustsnn.evaluation.measures import FLIPS, PILOT
from robustsnn.evaluation.measures.flips import FlipCounts, sections
from robustsnn.seeds import generator
from robustsnn.spiking import Plain

pytestmark = pytest.mark.usefixtures("unchecked")

SHORT = Protocol({"short": (Group("short", EventPGD(1), (Plain(),)),)}, "any")
AUDIT = Audit(images=9, steps=1, queries=1)


@pytest.fixture(scope="module")
def net():
    """A linear model, on which the attack's order is the best one."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    made[1].weight.data = torch.randn(2, 12, generator=generator(0, "weights"))
    made[1].bias.data = torch.zeros(2)
    return made.eval()


@pytest.fixture(scope="module")
def data(net):
    values = (torch.rand(9, 2, 2, 1, 3, generator=generator(0, "events")) < 0.5).byte()
    labels = net(values.float()).argmax(1)
    labels[3] = 1 - labels[3]  # misclassified without an attack
    return Samples(values, labels, classes=2, counts=True, ids=torch.arange(20, 29))


def run(net, data, **options):
    return evaluate(net, data, SHORT, **{"eps": 0.1, "threat": "Flips", "check": AUDIT} | options)


@pytest.fixture(scope="module")
def report(net, data):
    return run(net, data)


def fewest(net, x, y):
    """The smallest number of bits that change the prediction, by trying all."""
    for count in range(1, 13):
        for places in combinations(range(12), count):
            other = x.flatten().clone()
            other[list(places)] = 1 - other[list(places)]
            if int(net(other.view(1, 2, 2, 1, 3)).argmax()) != y:
                return count
    return None


def test_on_a_linear_model_they_are_the_fewest(net, data, report):
    found = report.found(FLIPS)
    right = {sum_: [] for sum_ in ("flips", "events")}
    for place in (place for place in range(9) if place != 3):
        x, y = data.batch(torch.tensor([place]))
        right["flips"].append(fewest(net, x, int(y)))
        right["events"].append(int(x.sum()))
    assert sorted(zip(found.needed, found.events, strict=True)) == sorted(zip(*right.values(), strict=True))
    assert found.path == next(iter(report.found(PILOT).paths)) == "Plain()"


def test_neither_the_order_nor_the_batch_matters(net, data, report):
    again = run(net, data.take(torch.arange(8, -1, -1)), batch=2).found(FLIPS)
    assert again == report.found(FLIPS)
    assert Report.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    "options", [{"threat": "Flips(most=2)"}, {"threat": "Retiming", "eps": 1}, {"check": Audit(images=0)}]
)
def test_there_are_none_without_flips_of_bits_or_an_audit(net, data, options):
    assert run(net, data.first(4), **options).found(FLIPS) is None


def test_a_failure_is_more_than_any_number(report):
    def cells(needed):
        found = FlipCounts(path="Rate()", needed=needed, events=(10,) * len(needed))
        row = Row(network="n", report=report.model_copy(update={"measured": {**report.measured, "flips": found}}))
        (section,) = sections([row])
        return section.table[1][0]

    assert cells((1, 2, 3, 4, 5, 6, 7, None)) == [
        *("n", "8", "87.5 (52.9-97.8)", "4.0", "4.5 (1 to -)", "45 (10 to -)", "Rate()"),
    ]
    assert cells((None, 2))[3:6] == ["2.0", "- (- to -)", "- (- to -)"]
    assert cells(())[1:6] == ["0", "-", "-", "- (- to -)", "- (- to -)"]


@pytest.mark.parametrize("count", [1, 5, 6, 7, 64, 101])
def test_the_interval_of_the_median_covers_it_as_often_as_it_says(count):
    _, low, high = median(range(1, count + 1))
    if count < 6:
        return
    assert low + high == count + 1
    assert binom.cdf(low - 1, count, 0.5) <= 0.025 < binom.cdf(low, count, 0.5)
