"""The section on lower bounds: apart from what attacks measured, in every format."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn

from robustsnn import Linf, certify, evaluate
from robustsnn.certification import Intervals, Smoothing, SparseSmoothing
from robustsnn.cli.certify import measured_as
from robustsnn.evaluation import Audit
from robustsnn.reporting import Row, RunReport, markdown, page, read_report, sections, table
from robustsnn.reporting.bounds import curve, stated
from robustsnn.seeds import generator

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def found():
    """A linear network on few bits, certified in three ways."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    x = (torch.rand(10, 1, 3, 3, generator=generator(0, "bits")) < 0.4).float()
    y = net(x).argmax(1)
    methods = Smoothing(0.25, draws=50, first=5), SparseSmoothing(0.05, 0.3, draws=50, first=5), Intervals([Linf(0.05)])
    return net, x, y, tuple(certify(net, (x, y), each) for each in methods)


def test_certified_figures_share_no_table_with_those_of_attacks(found):
    net, x, y, bounds = found
    measured = evaluate(net, (x, y), "quick", eps=0.05, attacks=["FGSM"], check=Audit(images=0))
    rows = (Row(network="small", report=measured),)
    value = RunReport(recipe={"name": "both"}, command="", versions={}, rows=rows, lower_bounds={"small": bounds})
    section = sections(value)["bounds"]
    head, lines = section.table
    assert "certified" in head
    assert not {"certified", "method"} & set(table(value)[0])
    assert [line[0] for line in lines] == ["small"] * len(lines)
    assert {line[2] for line in lines} > {"none", "L2 0.25", "Linf 0.05", "+1 -1 events"}
    assert list(section.notes) == [f"small, {each.method}" for each in bounds]
    assert all("forward passes per sample (" in note and " µJ, fp32)" in note for note in section.notes.values())
    assert [note.endswith("a proof, without risk") for note in section.notes.values()] == [False, False, True]
    text = markdown(value)
    assert text.index("| network | clean |") < text.index("## Lower bounds") < text.index("| network | method |")
    drawn = page(value)
    assert "<h2>Lower bounds</h2>" in drawn
    assert "Certified accuracy of smoothed networks" in drawn
    assert read_report(value.to_json(), "here") == value


def test_the_energy_of_a_network_without_a_row(found):
    *_, bounds = found
    alone = [each.model_copy(update={"nanojoules": 2.0}) for each in bounds[:1]] + [*bounds[1:2]]
    section = sections(RunReport(recipe={}, command="", versions={}, lower_bounds={"one": tuple(alone)}))["bounds"]
    known, unknown = section.notes.values()
    assert known.startswith("55 forward passes per sample (0.11 µJ, fp32); "), "2 nJ each"
    assert unknown.startswith("55 forward passes per sample; ")


def test_methods_are_written_briefly_unless_that_confuses_them(found):
    *_, (gaussian, sparse, intervals) = found
    other = gaussian.model_copy(update={"method": "Smoothing(sigma=0.25, draws=60)"})

    def methods(*bounds):
        _, lines = sections(RunReport(recipe={}, command="", versions={}, lower_bounds={"one": bounds}))["bounds"].table
        return list(dict.fromkeys(line[1] for line in lines))

    assert methods(gaussian, sparse, intervals) == ["Smoothing(0.25)", "SparseSmoothing(0.05, 0.3)", "Intervals"]
    assert methods(gaussian, other, intervals) == [gaussian.method, other.method, "Intervals"]


def test_a_report_of_lower_bounds_alone(found):
    *_, bounds = found
    value = RunReport(recipe={"name": "alone"}, command="", versions={}, lower_bounds={"one": bounds[:1], "two": bounds[1:]})
    assert value.networks == ["one", "two"]
    assert "no attack was measured" in markdown(value)
    assert "| network | clean |" not in markdown(value)
    assert "certified accuracy in percent by number of added" in page(value)
    assert sections(RunReport(recipe={}, command="", versions={})) == {}


def test_what_is_stated_is_what_was_certified(found):
    *_, (gaussian, sparse, intervals) = found
    assert dict(stated(gaussian))["none"].value == sum(gaussian.correct) / 10
    assert "L2 1" not in dict(stated(gaussian)), "beyond what fifty draws can certify"
    assert dict(stated(sparse))["+1 -1 events"].value == sum(sparse.changed(1, 1)) / 10
    assert dict(stated(intervals))["Linf 0.05"].value == intervals.accuracy(Linf(0.05))
    shares = [share.value for share in curve(gaussian).values()]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_the_command_certifies_and_adds_to_a_report(said, refused, tmp_path):
    few = (
        "certify",
        "zoo:digits-robust",
        "--limit",
        "3",
        "--method",
        "Smoothing(0.25, draws=40, first=5)",
        "Intervals([Linf(0.01)])",
    )
    code, out, _ = said(*few, "--json", "--out", tmp_path)
    assert code == 0
    smoothed, proven = json.loads(out)
    assert len(smoothed["lower"]) == len(proven["robust"][0]) == 3
    kept = read_report((tmp_path / "report.json").read_bytes(), "here")
    assert [each.kind for each in kept.lower_bounds["zoo:digits-robust"]] == ["gaussian", "intervals"]
    assert (tmp_path / "report.md").exists()
    code, out, _ = said(*few, "--quiet")
    assert "L2 1" not in out
    assert "Linf 2/255" in out
    table, *notes = out.strip().split("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    assert [note.partition(": ")[0] for note in notes] == [
        f"zoo:digits-robust, {each['method']}" for each in (smoothed, proven)
    ]
    assert notes[1].endswith("a proof, without risk")
    assert "unknown method" in refused("certify", "zoo:digits-robust", "--method", "Smooth(1)")


def test_a_checkpoint_of_a_run_has_the_name_that_its_report_gives_it(ran, said):
    """The first command of a run's folder measured it; the second one adds its lower bounds."""
    folder = ran / "runs/small"
    before = read_report((folder / "report.json").read_bytes(), "here")
    out = folder.parent / "copy"
    shutil.copytree(folder, out)
    line = ("certify", out / "snn.safetensors", "--limit", "2", "--method", "Smoothing(0.1, draws=5, first=2)", "--out", out)
    assert said(*line)[0] == 0
    after = read_report((out / "report.json").read_bytes(), "here")
    assert after.rows == before.rows
    assert list(after.lower_bounds) == [next(row.network for row in before.rows if row.network.endswith(" SNN, finetuned"))]
    assert measured_as(before, folder / "snn.safetensors", out) is None
