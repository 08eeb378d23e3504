"""Networks that come with the package are what their reports say, and are measured like any other."""

from __future__ import annotations

import json
from pathlib import Path

import benchmarks.zoo
import pytest
import torch

from composed import changed
from robustsnn import load
from robustsnn.checkpoint import read_header
from robustsnn.cli import main
from robustsnn.data import load_dataset
from robustsnn.data.sources import HERE
from robustsnn.evaluation import PROTOCOLS, Check
from robustsnn.reporting import read_report
from robustsnn.zoo import PREFIX, located, zoo

ROOT = Path(__file__).parents[1]

every_network = pytest.mark.parametrize("name", zoo())


@every_network
def test_it_is_small_and_says_how_it_was_made(name):
    header = read_header(PREFIX + name)
    assert located(PREFIX + name).stat().st_size < 5_000_000
    report = read_report(json.dumps(header.metrics["report"]).encode(), name)
    assert report.recipe["model"].items() <= header.recipe["model"].items()
    assert report.command.startswith(("robustsnn run ", "robustsnn evaluate "))
    assert [row.network for row in report.rows] == [f"{name} SNN", f"{name} ANN"]
    assert {check.verdict for check in report.rows[0].report.audit} <= {"pass", "warn"}
    assert report.rows[0].report.protocol == "rigorous"
    assert [row.report.edition for row in report.rows] == [PROTOCOLS["rigorous"].edition] * 2


@every_network
def test_it_classifies_as_its_report_says(name):
    header = read_header(PREFIX + name)
    report = read_report(json.dumps(header.metrics["report"]).encode(), name).rows[0].report
    try:
        data = load_dataset(header.recipe["data"]["name"]).test.first(report.images)
    except ValueError as error:
        pytest.skip(f"its data is not here ({HERE}): {error}")
    net = load(PREFIX + name)
    with torch.no_grad():
        hits = sum(int((net(x).argmax(1) == y).sum()) for x, y, _ in data.batches(250))
    assert hits / report.images == pytest.approx(report.clean.value, abs=0.005), "rounding differs from processor to processor"


def test_the_command_line_measures_it_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ("--protocol", "quick", "--attacks", "FGSM", "--eps", "0.05", "--limit", "12", "--audit-images", "0")
    assert main(["evaluate", "zoo:digits-robust", *flags]) == 0
    assert "zoo:digits-robust" in capsys.readouterr().out
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_its_report_is_shown(capsys):
    assert main(["info", "zoo:digits-robust"]) == 0
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "rigorous" in out


def test_the_cards_are_those_of_the_networks():
    assert (ROOT / "docs" / "zoo.md").read_text() == benchmarks.zoo.page()


@pytest.mark.parametrize("audit", [(), (Check(name="sweep", figure=0.1, verdict="fail", meaning="share"),)])
def test_a_network_without_a_passed_audit_stays_out(audit, tmp_path):
    name = next(iter(zoo()))
    report = read_report(json.dumps(read_header(PREFIX + name).metrics["report"]).encode(), name)
    row = report.rows[0].model_copy(update={"report": changed(report.rows[0].report, audit=audit)})
    file = tmp_path / "report.json"
    file.write_bytes(report.model_copy(update={"rows": (row,)}).to_json())
    with pytest.raises(ValueError, match="does not go into the zoo, its audit has not passed"):
        benchmarks.zoo.add("other", located(PREFIX + name), file, file)
    assert "other" not in zoo()


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match=r"unknown network of the zoo 'digits-rubost'.*digits-robust"):
        load("zoo:digits-rubost")
