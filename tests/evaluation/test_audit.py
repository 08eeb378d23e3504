"""The audit looks at what the protocol itself found: who broke an image, and what attacks returned before clipping."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from math import comb
from pathlib import Path

import pytest
import torch
from torch import nn

from robustsnn.attacks import FGSM, PGD, Square
from robustsnn.data import Samples
from robustsnn.evaluation import Audit, Group, Protocol, Report, Sources, evaluate
from robustsnn.evaluation.intervals import at_least
from robustsnn.evaluation.measures.checks import share_found
from robustsnn.seeds import generator
from robustsnn.spiking import Plain, Rate, Surrogate
from robustsnn.threats import Ball

pytestmark = pytest.mark.usefixtures("unchecked")

HOME = Path(__file__).parents[2]
EPS = 0.1
HOW = Audit(images=40, steps=20, queries=1)


class Steps(nn.Module):
    """Pixels rounded to three levels: a gradient that is zero, which queries do not need."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(64, 4)

    def forward(self, x):
        return self.weights((x * 2).round().flatten(1) / 2)


@pytest.fixture
def masked():
    net = Steps()
    x = torch.rand(40, 1, 8, 8, generator=generator(0, "test audit"))
    return net, Samples(x, net(x).argmax(1), classes=4)


def measured(net, images, *groups, **options):
    return evaluate(net, images, Protocol({"own": groups}, "any"), EPS, check=HOW, **options)


def checks(report):
    return {check.name: check for check in report.audit}


def test_what_only_the_protocols_queries_broke_counts_for_them(masked):
    gradients, queries = Group("PGD", PGD(steps=5), (Plain(),)), Group("Square", Square(queries=300), (Plain(),))
    net, images = masked
    report = measured(net, images, gradients, queries)
    assert report.results[0].white_box == (True, False)
    assert report.results[0].broken[1] > 20, "queries break what gradients do not"
    assert checks(report)["black box"].verdict == "fail"
    assert checks(report)["black box"].figure > 0.5


@dataclass(frozen=True)
class Returns:
    """What one attack after the other returns that does not keep to its ball."""

    follows = (Ball,)
    beyond: float = 0.0

    def __call__(self, model, x, y, threat, *, rng, judge=None):
        return x + self.beyond


@pytest.mark.parametrize(("beyond", "figure"), [(0.0, 0), (10 * EPS, 9 * EPS), (float("nan"), 1), (float("inf"), 1)])
def test_a_member_that_leaves_its_ball_fails_the_audit(beyond, figure, net, images, tmp_path):
    x = images * 0
    group, data = Group("mine", Returns(beyond=beyond), (Plain(),)), Samples(x, net(x).argmax(1), classes=4)
    report = measured(net, data, group, Group("PGD", PGD(steps=2), (Plain(),)))
    assert report.results[0].excess == pytest.approx((figure, 0), abs=1e-6)
    assert checks(report)["ball and box"].figure == pytest.approx(figure, abs=1e-6)
    assert checks(report)["ball and box"].verdict == ("fail" if figure else "pass")
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_after_a_kill_the_audit_still_knows_what_left_the_ball(net, images, tmp_path):
    class Killed(Exception):
        pass

    def stop(what, share):
        if what == "audit":
            raise Killed

    data, state = Samples(images * 0, net(images * 0).argmax(1), classes=4), tmp_path / "x.evaluation"
    group = Group("mine", Returns(beyond=1.0), (Plain(),))
    with pytest.raises(Killed):
        measured(net, data, group, state=state, on_progress=stop)
    assert checks(measured(net, data, group, state=state))["ball and box"].verdict == "fail"


@pytest.mark.parametrize(("given", "verdict", "figure"), [((), "warn", 0), (("ann",), "pass", 1)])
def test_a_report_says_whether_there_was_anything_to_transfer_from(given, verdict, figure, net, ann, images):
    data = Samples(images, net(images).argmax(1), classes=4)
    groups = Group("PGD", PGD(steps=2), (Plain(),)), Group("PGD", PGD(steps=2), (Sources(),))
    check = checks(measured(net, data, *groups, sources=dict.fromkeys(given, ann)))["transfer"]
    assert (check.verdict, check.figure) == (verdict, figure)
    assert check.meaning.startswith("networks whose examples were tried" if given else "no transfer: no source networks")
    assert "transfer" not in checks(measured(net, data, groups[0]))


@pytest.mark.parametrize("flag", ["training", "requires_grad"])
def test_flags_of_the_network_are_looked_at_too(flag, net, images):
    mode = not net.body.training

    def meddle(what, share):
        net.body.train(mode) if flag == "training" else next(net.parameters()).requires_grad_(False)

    data = Samples(images, net(images).argmax(1), classes=4)
    report = measured(net, data, Group("PGD", PGD(steps=2), (Plain(),)), on_progress=meddle)
    assert checks(report)["state"].verdict == "fail"


class NoNumbers(nn.Module):
    """A gradient that is no number anywhere."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x + (x - x.detach()).square().sqrt())


def test_images_whose_gradient_is_no_number_have_none(ann, images):
    data = Samples(images, ann(images).argmax(1), classes=4)
    report = measured(NoNumbers(ann), data, Group("PGD", PGD(steps=2), (Plain(),)))
    assert checks(report)["gradients"].verdict == "fail"
    assert checks(report)["gradients"].figure == 1
    assert checks(report)["ball and box"].verdict == "pass"


@dataclass(frozen=True)
class OnlyNear:
    """Finds what the network gets wrong at a small radius, and nothing at a large one."""

    follows = (Ball,)

    def __call__(self, model, x, y, threat, *, rng, judge=None):
        return PGD(20)(model, x, y, threat, rng=rng) if threat.eps < EPS else x


def test_accuracy_that_rises_with_the_radius_fails(ann, images):
    data = Samples(images, ann(images).argmax(1), classes=4)
    for attack, verdict in ((OnlyNear(), "fail"), (PGD(steps=20), "pass")):
        own = Protocol({"own": (Group("mine", attack, (Plain(),)),)}, "last")
        report = evaluate(ann, data, own, [0.99 * EPS, EPS], check=HOW)
        assert checks(report)["radii"].verdict == verdict
    assert "radii" not in checks(evaluate(ann, data, own, EPS, check=HOW))


def test_a_report_says_how_it_was_audited(masked):
    """On no more images than there are, and not at all where that was not asked for."""
    net, images = masked
    group = Group("PGD", PGD(steps=1), (Plain(),))
    assert measured(net, images, group).audited == HOW
    assert measured(net, images.first(7), group).audited == Audit(7, HOW.steps, HOW.queries)
    assert evaluate(net, images, Protocol({"own": (group,)}, "any"), EPS, check=Audit(0)).audited is None


def test_where_nothing_is_right_the_audit_says_of_how_many_images(masked):
    net, images = masked
    wrong = Samples(images.values, (images.labels + 1) % 4, classes=4)
    report = measured(net, wrong.first(30), Group("PGD", PGD(steps=1), (Plain(),)))
    assert checks(report)["accuracy"].meaning == "no audit: all 30 audited samples are misclassified without an attack"


def test_the_audits_share_is_told_as_it_goes(net, images):
    """Not once a check: its long attacks take nearly all of its time."""
    data, told = Samples(images, net(images).argmax(1), classes=4), []
    group = Group("PGD", PGD(steps=1), (Plain(),))

    def hear(what, share):
        if what == "audit":
            told.append(share)

    own = Protocol({"own": (group,)}, "any")
    evaluate(net, data, own, 1e-4, check=Audit(images=6, steps=100, queries=400), on_progress=hear)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    assert 60 < len(told) <= 101
    assert max(after - before for before, after in pairwise(told[:-1])) < 0.05, "nothing breaks, so nothing is skipped"
    told.clear()
    evaluate(net, Samples(images, (net(images).argmax(1) + 1) % 4, classes=4), own, 1e-4, check=HOW, on_progress=hear)
    assert told == [0, 1], "nothing is right, so there is nothing to audit"


@pytest.mark.parametrize(
    ("hits", "count", "verdict"),
    [
        *((0, 1, "pass"), (1, 100, "pass"), (100, 10_000, "pass")),
        *((1, 8, "warn"), (1, 16, "warn"), (1, 64, "warn"), (3, 64, "warn"), (2, 32, "warn"), (110, 10_000, "warn")),
        *((2, 16, "fail"), (3, 32, "fail"), (4, 64, "fail"), (130, 10_000, "fail"), (10_000, 10_000, "fail")),
    ],
)
def test_a_check_fails_on_evidence_and_not_on_a_single_image(hits, count, verdict):
    """The verdicts below 100 images are those of the sum of binomial terms."""
    found = share_found("restarts", hits, count, "images")
    assert (found.verdict, found.figure) == (verdict, hits / count)
    if count < 100:
        tail = sum(comb(count, k) * 0.01**k * 0.99 ** (count - k) for k in range(hits, count + 1))
        assert at_least(hits, count, 0.01) == pytest.approx(tail)
        assert (found.verdict == "fail") == (tail < 0.025)


class Looped(nn.Module):
    """Spikes inside, in a loop of its own that nobody sees."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(128, 4)

    def forward(self, x):
        return torch.stack([self.weights((x > level).to(x).flatten(1) + 0 * x.flatten(1)) for level in (0.3, 0.6)]).mean(0)


class Remembers(nn.Module):
    """A neuron without a wrapper, whose potential outlives a call."""

    def __init__(self):
        super().__init__()
        self.weights, self.potential = nn.Linear(128, 4), 0.0

    def forward(self, x):
        self.potential = self.potential + x.flatten(1).mean(0)
        return self.weights(x.flatten(1) + self.potential)


def test_state_that_outlives_a_call_is_found(images):
    net = Remembers()
    data = Samples(images, net(images).argmax(1), classes=4)
    found = checks(measured(net, data, Group("FGSM", FGSM(), (Plain(),))))["repeats"]
    assert found.verdict == "fail"
    assert "keeps state between calls" in found.meaning


ONE, TWO = (Plain(),), (Plain(), Surrogate())


@pytest.mark.parametrize(
    ("kind", "paths", "verdict", "figure", "remedy"),
    [
        ("looped", TWO, "warn", 1, "import it with its neurons (docs/interop.md)"),
        ("net", ONE, "warn", 1, "such as quick or rigorous"),
        ("net", TWO, "pass", 2, "followed"),
        ("ann", TWO, "pass", 1, "followed"),
    ],
)
def test_one_gradient_through_time_is_warned_of(kind, paths, verdict, figure, remedy, request, images):
    """An ANN has one, and neither queries nor examples of other networks are another."""
    net = Looped() if kind == "looped" else request.getfixturevalue(kind)
    data = Samples(images, net(images).argmax(1), classes=4)
    groups = Group("PGD", PGD(steps=2), paths), Group("FGSM", FGSM(), paths), Group("Square", Square(queries=2), (Rate(),))
    check = checks(measured(net, data, *groups, Group("PGD", PGD(steps=2), (Sources(),)), sources={"looped": Looped()}))[
        "paths"
    ]
    assert (check.verdict, check.figure) == (verdict, figure)
    assert check.meaning.endswith(remedy)


def test_the_threat_model_names_every_check(net, ann, images):
    data, group = Samples(images, net(images).argmax(1), classes=4), Group("PGD", PGD(steps=2), (Plain(), Sources()))
    own = Protocol({"own": (group,)}, "any")
    everything = evaluate(net, data, own, [EPS, 2 * EPS], check=HOW, sources={"ann": ann}).audit
    names = {f"PGD-{Audit().steps}" if check.name == f"PGD-{HOW.steps}" else check.name for check in everything}
    text = (HOME / "docs/threat-model.md").read_text(encoding="utf-8")
    rows = re.search(r"\| check \|.*\n\|.*\n((?:\|.*\n)+)", text)[1].splitlines()
    assert {re.match(r"\| ([^|]+) \|", row)[1] for row in rows} == names | {"accuracy"}
    fewer = checks(measured(net, data, Group("PGD", PGD(steps=2), (Plain(),))))
    assert names - set(fewer) == {f"PGD-{Audit().steps}", "radii", "transfer"}
