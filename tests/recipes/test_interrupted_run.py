"""A run killed in every stage, by a signal that cannot be caught, ends as if it had never been."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from composed import changed
from processes import called
from robustsnn.cli import main
from robustsnn.files import read_tensors
from robustsnn.reporting import read_report

pytestmark = pytest.mark.usefixtures("unchecked")

RECIPE = """
name = "killed"
timesteps = 2
data.limit = 200
model.width = 0.25
pretrain = {objective = "Trades(eps=0.1, steps=2)", epochs = 3, lr = 0.05, probe = "FGSM()"}
conversion = {timesteps = 4, batches = 3}
finetune = {objective = "RobustFinetuning(eps=0.1, alpha=0.05)", epochs = 3, lr = 0.01, probe = "FGSM()"}
evaluation = {protocol = "quick", eps = [0.1], limit = 20, audit_images = 0}
[baselines.natural]
pretrain = {objective = "Natural()", probe = ""}
finetune = {objective = "Natural()", probe = ""}
"""
COMMAND = ("run", "killed.toml", "--out", "run")
NETWORKS = [f"{folder}{name}.safetensors" for folder in ("", "natural/") for name in ("ann", "converted", "snn")]

KILLS = {
    "pretrain": "robust pretrain: epoch 2/3",
    "convert": "robust conversion",
    "finetune": "robust finetune: epoch 2/3",
    "evaluate": "robust SNN, finetuned: evaluating",
}
"""Where a process is killed: in that stage."""

WITNESSES = {
    "pretrain": ("ann.state", "ann.safetensors"),
    "convert": ("natural/ann.safetensors", "converted.safetensors"),
    "finetune": ("snn.state", "snn.safetensors"),
    "evaluate": ("report.json", "report.md"),
}
"""A file that is there when it died, and one that is not yet."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of the same run, done in one go."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "killed.toml").write_text(RECIPE)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(COMMAND) == 0
    finally:
        os.chdir(here)
    return folder / "run"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A run killed in one stage after the other and then left alone: its folder, and what the processes said."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "killed.toml").write_text(RECIPE)
    said = {}
    for stage, place in KILLS.items():
        process = called(folder, *COMMAND, at=place)
        assert process.returncode == -signal.SIGKILL, process.stderr
        said[stage] = process.stdout
        there, not_yet = (folder / "run" / name for name in WITNESSES[stage])
        assert there.exists(), f"not killed in {stage}: {said[stage]}"
        assert not not_yet.exists(), f"not killed in {stage}: {said[stage]}"
    process = called(folder, *COMMAND)
    assert (process.returncode, process.stderr) == (0, "")
    said["end"] = process.stdout
    return folder / "run", said


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_are_bit_by_bit_those_of_a_run_in_one_go(name, resumed, uninterrupted):
    found, expected = (read_tensors(folder / name)[0] for folder in (resumed[0], uninterrupted))
    assert found.keys() == expected.keys()
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []


def test_the_report_is_that_of_a_run_in_one_go(resumed, uninterrupted):
    found, expected = (read_report((folder / "report.json").read_bytes(), folder) for folder in (resumed[0], uninterrupted))
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert row.network == other.network
        one, two = (
            changed(report, seconds=0.0, results=[r.model_copy(update={"seconds": ()}) for r in report.results])
            for report in (row.report, other.report)
        )
        assert one == two
    assert {name: len(curve) for name, curve in found.curves.items()} == dict.fromkeys(expected.curves, 3)


def test_no_stage_was_begun_again(resumed):
    """Every epoch was trained once, but for those in which a process died."""
    lines = [line.split("  ")[0] for said in resumed[1].values() for line in said.splitlines() if ": epoch" in line]
    assert len(lines) == len(set(lines)) == 4 * 3


def test_nothing_is_left_over(resumed, uninterrupted):
    found, expected = (sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) for folder in (resumed[0], uninterrupted))
    assert found == expected


def test_where_there_is_no_terminal_plain_lines_are_printed(resumed):
    text = "".join(resumed[1].values())
    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    assert "Traceback" not in text
