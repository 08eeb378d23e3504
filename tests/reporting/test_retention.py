"""Retention: which network is held against which ANN, and what cannot be told."""

from composed import composed
from robustsnn.evaluation import Result
from robustsnn.evaluation.measures.worst_case import retention
from robustsnn.reporting import Row, RunReport, sections


def row(network, *flags):
    results = tuple(
        Result(attack="PGD", eps=radius, rule="any", members=("one",), broken_by=broken)
        for radius, broken in zip((0.1, 0.15), flags, strict=False)
    )
    return Row(network=network, report=composed(protocol="quick", images=4, results=results))


def report(*rows):
    return RunReport(recipe={"name": "r"}, command="", versions={}, rows=rows)


def test_a_spiking_network_is_held_against_its_own_ann():
    rows = (
        row("robust ANN", (-1, -1, -1, 0), (-1, -1, 0, -2)),
        row("robust SNN, finetuned", (-1, -1, -1, -2), (-1, 0, 0, 0)),
        row("natural SNN, finetuned", (-1, 0, 0, 0), (0, 0, 0, 0)),  # whose ANN was not measured
    )
    head, lines = retention(rows)
    assert head == ["network", "ε=0.1", "ε=0.15"]
    assert lines == [["robust SNN, finetuned", "1.00 (75.0 of 75.0)", "0.50 (25.0 of 50.0)"]]


def test_nothing_is_kept_of_nothing():
    rows = (row("robust ANN", (0, 0, 0, 0), (0, 0, 0, 0)), row("robust SNN, converted", (0, 0, 0, 0)))
    assert retention(rows)[1] == [["robust SNN, converted", "-", "-"]]


def test_it_is_a_section_of_a_report_with_both():
    both = row("robust ANN", (-1, 0, 0, 0), (0, 0, 0, 0)), row("robust SNN, finetuned", (-1, 0, 0, 0), (0, 0, 0, 0))
    assert "retention" in sections(report(*both))
    assert "retention" not in sections(report(both[0]))
