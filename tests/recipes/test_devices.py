"""A whole run with two processes: one folder, one voice; what stops it leaves a line, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robustsnn.checkpoint import load
from robustsnn.cli import main
from robustsnn.reporting import read_report

RECIPE = """
name = "two"
timesteps = 2
data.limit = 120
model.width = 0.25
pretrain = {objective = "Trades(eps=0.1, steps=2)", epochs = 2, lr = 0.05, probe = "FGSM(eps=0.1)"}
conversion = {timesteps = 10, batches = 2}
finetune = {objective = "RobustFinetuning(eps=0.1, alpha=0.05)", epochs = 12, lr = 0.001, probe = "FGSM(eps=0.1)"}
evaluation = {protocol = "quick", eps = [0.1], limit = 21, audit_images = 4, audit_steps = 5, audit_queries = 10}
"""


def start(folder: Path, *flags: str) -> subprocess.Popen[str]:
    (folder / "two.toml").write_text(RECIPE)
    return subprocess.Popen(
        [sys.executable, "-m", "robustsnn.cli", "run", "two.toml", "--out", "run", "--accelerator", "cpu", *flags],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def killed_at(line: str, process: subprocess.Popen[str], kill) -> tuple[str, str]:
    """Do ``kill(process)`` once the process has printed a line; what it says from then on, and its errors."""
    for said in process.stdout:
        if line in said:
            kill(process)
            break
    try:
        return process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a run of two processes was killed in one of them, then stopped, then left alone."""
    return tmp_path_factory.mktemp("two")


def test_a_process_that_dies_ends_the_run_with_a_line(folder):
    process = start(folder, "--devices", "2")
    _, errors = killed_at("finetune: epoch 2/12", process, lambda p: os.kill(children(p.pid)[0], signal.SIGKILL))
    assert process.returncode not in (0, None)
    lines = [line for line in errors.splitlines() if line.startswith("robustsnn:")]
    assert any("the same command continues where it stopped" in line for line in lines), errors
    assert "Traceback" not in errors
    assert (folder / "run" / "snn.state").exists()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_and_says_how_to_continue(sent, status, folder):
    process = start(folder)  # one process goes on where two stopped
    _, errors = killed_at("finetune: epoch", process, lambda p: p.send_signal(sent))
    assert process.returncode == status, errors
    assert errors.strip().splitlines()[-1] == "robustsnn: stopped; the same command continues where it stopped"


def test_the_same_command_ends_it_and_only_one_process_speaks(folder):
    process = start(folder, "--devices", "2")
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert said.count("finetune: epoch 12/12") == 1
    assert said.count("The report is in") == 1
    report = read_report((folder / "run" / "report.json").read_bytes(), folder)
    assert report.versions["processes"] == "2"
    assert not [path.name for path in (folder / "run").iterdir() if "-of-" in path.name or ".state" in path.name]


def test_what_two_processes_measured_is_what_one_measures(folder, tmp_path):
    assert main(["evaluate", str(folder / "run" / "snn.safetensors"), "--out", str(tmp_path)]) == 0
    alone = read_report((tmp_path / "report.json").read_bytes(), tmp_path)
    together = read_report((folder / "run" / "report.json").read_bytes(), folder)
    assert alone.rows[0].report.results == together.rows[-1].report.results
    assert alone.versions | {"processes": "2"} == together.versions | {"threads": alone.versions["threads"]} | {
        "recipe": alone.versions["recipe"]
    }
    assert set(alone.versions) >= {"source", "data", "recipe", "device", "deterministic", "torch"}
    assert torch.isfinite(load(folder / "run" / "snn.safetensors")(torch.rand(2, 1, 8, 8))).all()
