"""A run killed in every stage, by a signal that cannot be caught, ends as if it had never been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robustsnn.cli import main
from robustsnn.files import read_tensors
from robustsnn.reporting import read_report

RECIPE = """
name = "killed"
timesteps = 2
data.limit = 200
model.width = 0.25
pretrain = {objective = "Trades(eps=0.1, steps=2)", epochs = 6, lr = 0.05, probe = "FGSM(eps=0.1)"}
conversion = {timesteps = 400, batches = 3}
finetune = {objective = "RobustFinetuning(eps=0.1, alpha=0.05)", epochs = 6, lr = 0.01, probe = "FGSM(eps=0.1)"}
evaluation = {protocol = "quick", eps = [0.1], limit = 20, audit_images = 0}
[baselines.natural]
pretrain = {objective = "Natural()", probe = ""}
finetune = {objective = "Natural()", probe = ""}
conversion.timesteps = 4
"""
COMMAND = ("run", "killed.toml", "--out", "run")
NETWORKS = [f"{folder}{name}.safetensors" for folder in ("", "natural/") for name in ("ann", "converted", "snn")]

KILLS = {
    "pretrain": "robust pretrain: epoch 2/6",
    "convert": "natural pretrain: kept epoch",
    "finetune": "robust finetune: epoch 2/6",
    "evaluate": "robust SNN, finetuned: evaluating",
}
"""The line after which a process is killed, so that it dies in that stage."""

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


def start(folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = "import sys; from robustsnn.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *COMMAND],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def killed_after(line, folder):
    """What a run prints up to the line at which it is killed."""
    said = []
    with start(folder) as process:
        for said_line in process.stdout:
            said.append(said_line)
            if line in said_line:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, "".join(said)
    return said


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A run killed in one stage after the other and then left alone: its folder, and what the processes said."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "killed.toml").write_text(RECIPE)
    said = {}
    for stage, line in KILLS.items():
        said[stage] = killed_after(line, folder)
        there, not_yet = (folder / "run" / name for name in WITNESSES[stage])
        assert there.exists(), f"not killed in {stage}: {said[stage]}"
        assert not not_yet.exists(), f"not killed in {stage}: {said[stage]}"
    with start(folder) as process:
        said["end"] = process.stdout.readlines()
    assert process.returncode == 0, "".join(said["end"])
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
        assert row.report.model_copy(update={"seconds": 0.0}) == other.report.model_copy(update={"seconds": 0.0})
    assert {name: len(curve) for name, curve in found.curves.items()} == dict.fromkeys(expected.curves, 6)


def test_no_stage_was_begun_again(resumed):
    """Every epoch was trained once, but for those in which a process died."""
    lines = [line.split("  ")[0] for said in resumed[1].values() for line in said if ": epoch" in line]
    assert len(lines) == len(set(lines)) == 4 * 6


def test_nothing_is_left_over(resumed, uninterrupted):
    found, expected = (sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) for folder in (resumed[0], uninterrupted))
    assert found == expected


def test_where_there_is_no_terminal_plain_lines_are_printed(resumed):
    text = "".join(line for said in resumed[1].values() for line in said)
    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    assert "Traceback" not in text
