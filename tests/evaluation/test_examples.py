"""Adversarial images to look at: inside the ball, wrong in the network's own eyes, the same every time, and few."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from pydantic import ValidationError

from robustsnn import Rate
from robustsnn.attacks import ascent
from robustsnn.data import Samples
from robustsnn.evaluation import PROTOCOLS, Audit, Example, Group, Protocol, Report
from robustsnn.evaluation import evaluate as evaluate_network
from robustsnn.evaluation.measures import EXAMPLES
from robustsnn.threats import kind

EPS = 16 / 255
evaluate = partial(evaluate_network, check=Audit(images=0))


@pytest.fixture
def data(net, images):
    """Images that the network classifies correctly, with ids of their own."""
    with torch.no_grad():
        return Samples((images * 255).byte(), net((images * 255).byte() / 255).argmax(1), classes=4, ids=torch.arange(40, 46))


def shown(report):
    found = report.found(EXAMPLES)
    return found.shown if found else ()


def pixels(content, shape):
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(shape).float() / 255


def test_examples_break_the_network_inside_the_ball(net, data):
    report = evaluate(net, data, "quick", [2 / 255, EPS], shown=3)
    strongest = min(report.result(name, EPS).robust.value for name in PROTOCOLS["quick"].ensembles)
    assert 0 < len(shown(report)) <= 3
    places = {int(image): place for place, image in enumerate(data.ids)}
    for example in shown(report):
        result = report.result(example.attack, example.eps)
        place = places[example.image]
        assert result.eps == EPS
        assert result.robust.value == strongest
        assert result.members[result.broken_by[place]] == example.member
        before, after = (pixels(each, example.shape) for each in (example.original, example.adversarial))
        assert torch.equal(before, data.batch(torch.tensor([place]))[0][0])
        assert (after - before).abs().max() <= EPS + 1e-6
        assert example.label == int(data.labels[place]) != example.seen_as


def test_those_of_the_member_that_broke_most_come_first(net, data):
    report = evaluate(net, data, "quick", EPS, attacks=["FGSM"], shown=6)
    counts = [report.results[0].members.index(example.member) for example in shown(report)]
    broken = [report.results[0].broken[member] for member in counts]
    assert broken == sorted(broken, reverse=True)
    assert len(shown(report)) == sum(report.results[0].broken)


@pytest.mark.parametrize("batch", [1, 6])
def test_the_batch_changes_nothing(net, data, batch):
    assert shown(evaluate(net, data, "quick", EPS, shown=2, batch=batch)) == shown(evaluate(net, data, "quick", EPS, shown=2))


def test_none_are_kept_unless_asked_for_or_where_nothing_breaks(net, data):
    assert shown(evaluate(net, data, "quick", EPS, attacks=["FGSM"])) == ()
    assert shown(evaluate(net, data, "quick", 0.0, attacks=["FGSM"], shown=4)) == ()


def test_a_report_with_examples_survives_json(net, data):
    report = evaluate(net, data, "quick", EPS, attacks=["FGSM"], shown=2)
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_an_example_needs_as_many_bytes_as_its_shape_says():
    fields = {"image": 0, "label": 0, "seen_as": 1, "attack": "a", "member": "m", "eps": 0.1}
    Example(**fields, shape=(1, 2, 1), original=b"AAA=", adversarial=b"AAA=")
    for change in ({"shape": (1, 3, 1)}, {"original": b"AAAA"}, {"original": b"<x>!"}, {"shape": (-1, -2, 1)}):
        with pytest.raises(ValidationError):
            Example(**{**fields, "shape": (1, 2, 1), "original": b"AAA=", "adversarial": b"AAA=", **change})


@pytest.mark.parametrize(("threat", "counts"), [("Flips(most=2)", True), ("FrameLinf", False)])
def test_counts_are_kept_whole_under_threats_to_events(net, images, threat, counts):
    data = Samples((images * (3 if counts else 2)).byte(), torch.zeros(6, dtype=torch.long), classes=4, counts=True)
    with torch.no_grad():
        data = Samples(data.values, net(data.batch(torch.arange(6))[0]).argmax(1), classes=4, counts=True)
    mine = Protocol({"mine": (Group("mine", ascent(kind(threat)(0.5), 3), (Rate(),)),)}, "any")
    (example,) = shown(evaluate(net, data, mine, 0.5, threat=threat, shown=1))
    before, after = (torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in (example.original, example.adversarial))
    assert example.counts == counts
    assert before.equal(data.values[example.image].flatten() * (1 if counts else 255))
    assert not after.equal(before)
    assert set(after.tolist()) <= {0, 1, 2} or not counts
