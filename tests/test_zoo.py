"""Networks that come with the package are what their reports say, and are measured like any other."""

from __future__ import annotations

import json

import pytest
import torch

from robustsnn import load
from robustsnn.checkpoint import read_header
from robustsnn.cli import main
from robustsnn.data import load_dataset
from robustsnn.data.sources import HERE
from robustsnn.reporting import read_report
from robustsnn.zoo import PREFIX, located, zoo

every_network = pytest.mark.parametrize("name", zoo())


@every_network
def test_it_is_small_and_says_how_it_was_made(name):
    header = read_header(PREFIX + name)
    assert located(PREFIX + name).stat().st_size < 5_000_000
    report = read_report(json.dumps(header.metrics["report"]).encode(), name)
    assert report.recipe["model"].items() <= header.recipe["model"].items()
    assert report.command.startswith(("robustsnn run ", "robustsnn evaluate "))
    assert len(report.rows) == 1
    assert report.rows[0].report.results


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
    assert "PGD-20" in out


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match=r"unknown network of the zoo 'digits-rubost'.*digits-robust"):
        load("zoo:digits-rubost")
