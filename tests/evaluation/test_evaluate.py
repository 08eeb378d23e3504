"""Evaluation as a whole: an attack at an epsilon is a vector of flags, and the same vector however it is computed."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from robustsnn import evaluation
from robustsnn.attacks import APGD, FAB, FGSM, PGD, SAPGD, Square, UniformNoise
from robustsnn.compute.recall import graph_bytes
from robustsnn.conversion import bfloat16
from robustsnn.data import Samples
from robustsnn.evaluation import (
    MISCLASSIFIED,
    PROTOCOLS,
    ROBUST,
    Audit,
    Group,
    Protocol,
    Report,
    Sources,
    correct_over_time,
    firing_rates,
    members,
    operations,
    worst_case,
)
from robustsnn.evaluation.ensemble import Target, attempt
from robustsnn.evaluation.measures import LATENCY, LAYERS, PILOT
from robustsnn.evaluation.measuring import fitting
from robustsnn.evaluation.member import SCALED_PATHS
from robustsnn.models import create
from robustsnn.seeds import generator, image_seeds
from robustsnn.spiking import Adaptive, Hybrid, Plain, PotentialDependent, Surrogate, Triangle
from robustsnn.threats import L2, Linf

pytestmark = pytest.mark.usefixtures("unchecked")

EPS = 0.05
NO_AUDIT = Audit(images=0)


def evaluate(*args, **options):
    """Without the audit, which has tests of its own."""
    return evaluation.evaluate(*args, **{"check": NO_AUDIT, **options})


@pytest.fixture
def data(net):
    """Images that the network gets right but for the first one."""
    x = torch.rand(9, 2, 8, 8, generator=generator(0, "test evaluate"))
    y = net(x).argmax(1)
    y[0] = (y[0] + 1) % 4
    return Samples(x, y, classes=4)


def flags(report):
    return {(result.attack, result.eps): result.broken_by for result in report.results}


def test_a_report_holds_every_attack_at_every_radius(net, data):
    report = evaluate(net, data, "quick", [0.0, EPS])
    assert list(flags(report)) == [(name, eps) for name in PROTOCOLS["quick"].ensembles for eps in (0.0, EPS)]
    assert {result.rule for result in report.results} == {"any"}
    assert (report.protocol, report.images, report.timesteps, report.seed) == ("quick", 9, 4, 0)
    for result in report.results[:4]:
        assert result.members == tuple(map(str, PROTOCOLS["quick"].ensembles["FGSM"][0].paths))
    layers = report.found(LAYERS)
    assert layers.thresholds == dict.fromkeys(net.thresholds, 0.5)
    assert layers.firing_rates == firing_rates(net, data)
    assert report.seconds > 0


def test_every_measure_takes_what_users_hold(net, data):
    x, y = data.batch(torch.arange(9))
    for held in ((x, y), DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)):
        assert flags(evaluate(net, held, "quick", EPS)) == flags(evaluate(net, data, "quick", EPS))
        assert firing_rates(net, held) == firing_rates(net, data)
        assert operations(net, held) == operations(net, data)
        assert correct_over_time(net, held) == correct_over_time(net, data)
    with pytest.raises(ValueError, match=r"without labels: pass both, as \(x, y\)"):
        evaluate(net, x, "quick", EPS)


def test_a_radius_of_zero_leaves_the_clean_accuracy(net, data):
    report = evaluate(net, data, "quick", 0.0)
    assert report.clean.value == pytest.approx(8 / 9)
    assert all(result.robust == report.clean for result in report.results)
    assert set(report.results[0].broken_by) == {ROBUST, MISCLASSIFIED}


def test_the_flags_are_those_of_the_worst_case(net, data):
    x, y = data.batch(torch.arange(9))
    ensemble = members(PROTOCOLS["quick"].ensembles["PGD-10"], Linf(EPS), net)
    expected = worst_case(ensemble, net, x, y, rng=image_seeds(torch.arange(9), 7, "PGD-10"))[1]
    report = evaluate(net, data, "quick", EPS, attacks=["PGD-10"], seed=7)
    assert flags(report) == {("PGD-10", EPS): tuple(expected.tolist())}
    assert len(set(expected.tolist())) > 2


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_batch_does_not_decide(batch, net, data):
    assert flags(evaluate(net, data, "quick", EPS, batch=batch)) == flags(evaluate(net, data, "quick", EPS, batch=9))


def test_a_budget_of_memory_makes_the_batch_smaller_and_decides_nothing(net, data, monkeypatch):
    guide = Target.of(net).guide
    x, _ = data.batch(torch.arange(8))
    four = graph_bytes(guide, x[:4].requires_grad_())
    assert 2 <= fitting(guide, data.first(2), 250, four) <= 4
    assert fitting(guide, data.first(1), 3, 2**40) == 3
    with pytest.raises(ValueError, match="one image needs"):
        fitting(guide, data.first(2), 250, 100)
    alone = flags(evaluate(net, data, "quick", EPS))
    assert flags(evaluate(net, data, "quick", EPS, memory=four)) == alone
    assert flags(evaluate(net, data, "quick", EPS, memory=f"{four / 2**10:.2f}KiB")) == alone
    for wrong in ("much", 0, 1.5, True):
        with pytest.raises(ValueError, match="memory must be an amount such as 8GiB"):
            evaluate(net, data, "quick", EPS, memory=wrong)


def test_attacks_may_follow_lower_precision_and_are_judged_in_full(net, data, monkeypatch):
    x, _ = data.batch(torch.arange(9))
    target = replace(Target.of(net), guide=bfloat16(Target.of(net).guide))
    assert torch.equal(target.judged(x), net(x))
    assert not torch.equal(target.guide(x), net(x))
    report = evaluate(net, data, "quick", EPS, attacks=["PGD-10"], crafting="bfloat16")
    assert report.clean == evaluate(net, data, "quick", EPS, attacks=["FGSM"]).clean
    assert 0 < report.result("PGD-10", EPS).robust.value < report.clean.value


def test_fewer_images_are_the_beginning_of_more(net, data):
    few, all_ = (flags(evaluate(net, images, "quick", EPS)) for images in (data.first(4), data))
    assert few == {key: broken[:4] for key, broken in all_.items()}


def test_a_plain_ann_is_measured_along_its_own_gradient(ann, data, unchanged):
    with unchanged(ann):
        report = evaluate(ann, data, "paper", EPS, attacks=["FGSM", "PGD-20", "APGD-T"])
    assert {result.members for result in report.results} == {("Plain()",)}
    layers = report.found(LAYERS)
    assert (report.timesteps, layers.thresholds, layers.firing_rates) == (None, {}, {})
    assert report.found(LATENCY) is None
    assert set(report.results[0].broken_by) <= {ROBUST, MISCLASSIFIED, 0}


def test_the_network_is_left_as_it_is(net, data, unchanged):
    with unchanged(net):
        evaluate(net, data, "quick", EPS)


@pytest.mark.parametrize("kind", ["ann", "net"])
def test_a_report_survives_json(kind, request, data):
    report = evaluate(request.getfixturevalue(kind), data, "quick", [EPS, 8 / 255])
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_rule_of_ones_own_replaces_the_protocols(net, data):
    any_, last = (evaluate(net, data, "quick", EPS, rule=rule, attacks=["PGD-10"]).results[0] for rule in ("any", "last"))
    assert (any_.rule, last.rule) == ("any", "last")
    assert any_.robust.value <= last.robust.value


def test_progress_rises_to_one_for_every_attack(net, data):
    told = {}
    evaluate(net, data, "quick", EPS, batch=2, on_progress=lambda what, share: told.setdefault(what, []).append(share))
    assert len(told) == 3
    for shares in told.values():
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_progress_is_told_within_a_batch(net, data):
    """A long attack on one batch may take minutes."""
    told = []
    own = Protocol({"own": (Group("PGD", PGD(steps=60), (Plain(),)),)}, "any")
    evaluate(net, data, own, 1e-6, check=Audit(images=0), on_progress=lambda what, share: told.append(share))
    assert told == sorted(told)
    assert 30 < len(told) <= 102


def test_an_evaluation_shows_its_progress_on_a_terminal_only(net, data, monkeypatch, capsys):
    """On stderr, unless somebody else is told."""
    quickly = {"attacks": ["FGSM"], "check": Audit(images=0)}
    evaluate(net, data, "quick", EPS, **quickly)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stderr", Screen())
    evaluate(net, data, "quick", EPS, on_progress=lambda what, share: None, **quickly)
    assert sys.stderr.getvalue() == ""
    evaluate(net, data, "quick", EPS, **quickly)
    assert f"FGSM at {Linf(EPS).spelled}" in sys.stderr.getvalue()
    assert capsys.readouterr().out == ""


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"protocol": "paper", "attacks": ["PGD-10"]}, r"protocol 'paper': 'PGD-10'.*; protocol 'quick' has 'PGD-10'"),
        ({"protocol": "papper"}, r"unknown protocol .*'papper': did you mean 'paper'\?"),
        ({"attacks": ["PGD-11"]}, r"'PGD-11': did you mean 'PGD-10'\?"),
        ({"attacks": []}, "at least one attack"),
        ({"eps": -0.1}, "at least 0, not -0.1"),
        ({"eps": [0.1, float("nan")]}, "finite and at least 0, not nan"),
        ({"eps": 8}, "not 8: write 8/255"),
        ({"eps": "8/25x"}, "'8/25x' is not a number"),
        ({"threat": "L3"}, r"unknown threat 'L3': did you mean 'L2'\?"),
        ({"protocol": Protocol({"mine": (Group("mine", PGD(), (Sources(),)),)}, "any")}, "'mine' of .*'own' has no members"),
        ({"eps": []}, "at least one eps"),
        ({"rule": "best"}, "rule: Input should be 'any' or 'last'"),
        ({"images": 0}, "at least one image"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_before_anything_is(wrong, line, net, data):
    images = data.first(wrong.pop("images", None))
    net.body.forward = None
    with pytest.raises(ValueError, match=line):
        evaluate(net, images, **{"protocol": "quick", "eps": EPS, **wrong})


class Viewed(torch.nn.Linear):
    """Flattens as many do who never meet an empty batch."""

    def forward(self, x):
        return super().forward(x.view(x.size(0), -1))


@pytest.mark.parametrize("right", [0, 9], ids="{} right".format)
def test_a_network_that_takes_no_empty_batch_is_not_given_one(right, data):
    net = Viewed(128, 4)
    y = (net(data.values.float() / 255 if data.values.dtype == torch.uint8 else data.values).argmax(1) + (right == 0)) % 4
    everything = (FGSM(), PGD(steps=2), APGD(steps=3), SAPGD(steps=3), FAB(steps=2), Square(queries=20), UniformNoise(draws=2))
    groups = tuple(Group(f"{i}", attack, (Plain(),)) for i, attack in enumerate(everything))
    for rule in ("any", "last"):
        own = Protocol({"own": groups}, rule, ranked=True)
        report = evaluation.evaluate(net, Samples(data.values, y, classes=4), own, 0.001, check=Audit(9, 5, 50))
        assert report.clean.value == right / 9


def test_images_of_another_shape_are_refused_with_theirs_and_the_networks(net):
    other = Samples(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64), classes=4)
    with pytest.raises(ValueError, match=r"\[N, 2, H, W\].*\[2, 3, 8, 8\]"):
        evaluate(net, other, "quick", EPS)


def test_a_source_on_another_device_is_refused(net, ann, data):
    with pytest.raises(ValueError, match=r"source 'ann' and the network are on different devices, cpu and meta"):
        evaluate(net, data, "quick", EPS, sources={"ann": create("digits", 4, size=8, channels=2).to("meta")})


def three(report):
    return report.results[0].broken_by, report.results[0].members


RIGOROUS = """
rule = "any"
ranked = true
[[ensembles.all]]
attack = "PGD(steps=3)"
paths = ["published"]
[[ensembles.all]]
attack = "APGD(steps=4)"
paths = ["strongest", "PotentialDependent", "Hybrid"]
[[ensembles.all]]
attack = "SAPGD(steps=4)"
paths = ["Adaptive(0.42)"]
[[ensembles.all]]
attack = "PGD(steps=2)"
paths = ["sources"]
[[ensembles.all]]
attack = "Square(queries=10)"
paths = ["Plain"]
"""


@pytest.fixture
def rigorous(tmp_path, ann, data):
    """A small protocol of everything, on given images, against the same pilot."""
    path = tmp_path / "rigorous.toml"
    path.write_text(RIGOROUS)

    def measure(net, images=data, **options):
        return evaluate(net, images, str(path), EPS, sources={"ann": ann}, pilot_images=data, **options)

    return measure


def test_neither_batch_nor_order_nor_shards_decide_any_flag(net, data, rigorous):
    whole, members = three(rigorous(net))
    assert len({*whole} - {ROBUST, MISCLASSIFIED}) >= 1
    assert three(rigorous(net, batch=2)) == (whole, members)
    order = torch.randperm(9, generator=generator(0, "order"))
    assert three(rigorous(net, data.take(order))) == (tuple(whole[i] for i in order), members)
    shards = [three(rigorous(net, data.take(torch.arange(first, 9, 2)), batch=3))[0] for first in (0, 1)]
    assert (shards[0], shards[1]) == (whole[0::2], whole[1::2])


def test_what_each_member_cost_is_counted(net, data):
    result = evaluate(net, data, "quick", EPS, attacks=["PGD-10"]).results[0]
    broken = [result.broken_by.count(member) for member in range(len(result.members))]
    assert result.broken == tuple(broken)
    alive = 8
    for gradients, queries, lost in zip(result.gradients, result.queries, broken, strict=True):
        assert 10 * (alive - lost) + lost <= gradients <= 10 * alive
        assert gradients + alive == queries  # every iterate is judged once, and what is returned once more
        alive -= lost


def test_under_the_rule_any_what_a_smaller_radius_broke_is_not_attacked_again(net, data):
    small, large = evaluate(net, data, "quick", [2 * EPS, EPS], attacks=["PGD-10"]).results[::-1]
    assert small.eps < large.eps
    assert all(b == a for a, b in zip(small.broken_by, large.broken_by, strict=True) if a != ROBUST)
    alone = evaluate(net, data, "quick", 2 * EPS, attacks=["PGD-10"]).results[0]
    assert large.gradients[0] < alone.gradients[0]


def test_the_pilot_tells_of_every_path(net, data, rigorous):
    found = rigorous(net).found(PILOT).paths
    own = (PotentialDependent(), Hybrid(), Adaptive(0.42))
    assert set(found) == {str(path) for path in (*evaluation.PUBLISHED_PATHS, *SCALED_PATHS, *own)}
    shares = [figures.broken for figures in found.values()]
    assert shares == sorted(shares, reverse=True)
    assert evaluate(net, data, "quick", EPS).found(PILOT) is None


def test_a_protocol_of_ones_own_is_measured_like_a_named_one(net, data):
    named = evaluate(net, data, "quick", EPS, attacks=["PGD-10"])
    own = evaluate(net, data, Protocol({"PGD-10": PROTOCOLS["quick"].ensembles["PGD-10"]}, "any"), EPS)
    assert flags(own) == flags(named)
    assert named.protocol == "quick"


def test_protocols_of_ones_own_go_by_what_they_are_made_of(net, data):
    """So that a comparison of reports does not take one for the other."""

    def called(steps):
        chosen = Protocol({"PGD": (Group("PGD", PGD(steps=steps), (Surrogate(Triangle(1.0)),)),)}, "any")
        return evaluate(net, data.first(1), chosen, EPS, check=NO_AUDIT).protocol

    assert called(1) == called(1) != called(2)
    assert called(1).startswith("own ")


def test_an_attack_that_does_not_say_what_it_follows_is_refused_where_it_enters_a_protocol():
    with pytest.raises(ValueError, match="'mine' must declare its kinds of threat"):
        Group("mine", lambda model, x, y, threat, rng, judge=None: x, ())


def test_a_threat_of_another_kind_is_measured_audited_and_told(net, data):
    report = evaluate(net, data, "quick", [0.2, "1/2"], threat="L2", check=Audit(9, 5, 10), shown=1)
    assert report.threat == "L2"
    assert [result.within for result in report.results] == [L2(0.2), L2(0.5)] * 3
    verdicts = {check.name: check for check in report.audit}
    assert {"ball and box", "sweep", "noise"} <= set(verdicts)
    assert verdicts["ball and box"].verdict == "pass"
    near = evaluate(net, data, "quick", 0.2, check=NO_AUDIT)
    assert near.threat == "Linf"
    assert near.results[0].robust.value < report.results[0].robust.value, "a cube is larger than the ball inside of it"
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_without_a_radius_the_usual_one_of_the_kind_is_meant(net, data):
    for threat, eps in (("Linf", 8 / 255), ("L2", 0.5)):
        report = evaluation.evaluate(net, data.first(1), "quick", threat=threat, attacks=["FGSM"], check=NO_AUDIT)
        assert [result.eps for result in report.results] == [eps]


def test_samples_of_every_rank_are_measured(data):
    y = torch.arange(4)
    for shape in ((6,), (2, 5), (2, 5, 6), (3, 1, 4, 5)):
        x = torch.rand(4, *shape, generator=generator(0, *shape))
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x[0].numel(), 4))
        own = Protocol(
            {"own": (Group("PGD", PGD(steps=2), (Plain(),)), Group("Square", Square(queries=5), (Plain(),)))}, "any"
        )
        target = Target.of(net)
        for member in members(own.ensembles["own"], L2(0.2), net):
            adv, broken, _ = attempt(member, target, x, y, image_seeds(y, 0), "any")
            assert adv.shape == x.shape
            assert broken.shape == (4,)
