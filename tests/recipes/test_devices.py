"""A whole run with two processes: one folder, one voice; what stops it leaves a line, and the same command goes on."""

from __future__ import annotations

import signal

import pytest
import torch

from processes import called
from robustsnn.checkpoint import load
from robustsnn.cli import main
from robustsnn.evaluation.measures import ENERGY, LATENCY, LAYERS
from robustsnn.recipes.engine import Engine
from robustsnn.reporting import read_report

pytestmark = pytest.mark.usefixtures("unchecked")

RECIPE = """
name = "two"
timesteps = 2
data.limit = 120
model.width = 0.25
pretrain = {objective = "Natural()", epochs = 1, lr = 0.05, probe = ""}
conversion = {timesteps = 10, batches = 2}
finetune = {objective = "RobustFinetuning(eps=0.1, alpha=0.05)", epochs = 5, lr = 0.001, probe = "FGSM()"}
evaluation = {protocol = "quick", eps = [0.1], limit = 21, audit_images = 0}
"""
COMMAND = ("run", "two.toml", "--out", "run", "--accelerator", "cpu")
TWO = ("--devices", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def processes(folder):
    """The same run four times: one of two processes was killed, one alone was stopped twice, two brought it to its end."""
    found = {"killed": called(folder, *COMMAND, *TWO, at="two finetune: epoch 2/5", rank=1)}
    assert (folder / "run/snn.state").exists()
    found["SIGTERM"] = called(folder, *COMMAND, at="two finetune: epoch 3/5", by=signal.SIGTERM)
    found["SIGINT"] = called(folder, *COMMAND, at="two finetune: epoch 4/5", by=signal.SIGINT)
    assert not (folder / "run/snn.safetensors").exists()
    return found | {"ended": called(folder, *COMMAND, *TWO)}


def test_a_process_that_dies_ends_the_run_with_a_line(processes):
    killed = processes["killed"]
    assert killed.returncode not in (0, None)
    lines = [line for line in killed.stderr.splitlines() if line.startswith("robustsnn:")]
    assert any("the same command continues where it stopped" in line for line in lines), killed.stderr
    assert "Traceback" not in killed.stderr


@pytest.mark.parametrize(("sent", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_stops_the_run_and_says_how_to_continue(sent, status, processes):
    stopped = processes[sent]
    assert stopped.returncode == status, stopped.stderr
    assert stopped.stderr.strip().splitlines()[-1] == "robustsnn: stopped; the same command continues where it stopped"


def test_the_same_command_ends_it_and_only_one_process_speaks(processes, folder):
    ended = processes["ended"]
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("finetune: epoch 5/5") == 1
    assert ended.stdout.count("The report is in") == 1
    report = read_report((folder / "run" / "report.json").read_bytes(), folder)
    assert report.versions["processes"] == "2"
    assert not [path.name for path in (folder / "run").iterdir() if "-of-" in path.name or ".state" in path.name]


def test_what_two_processes_measured_is_what_one_measures(processes, folder, tmp_path):
    assert main(["evaluate", str(folder / "run" / "snn.safetensors"), "--out", str(tmp_path)]) == 0
    alone = read_report((tmp_path / "report.json").read_bytes(), tmp_path)
    together = read_report((folder / "run" / "report.json").read_bytes(), folder)
    one, two = alone.rows[0].report, together.rows[-1].report
    alike = [[r.model_copy(update={"seconds": ()}) for r in each.results] for each in (one, two)]
    assert alike[0] == alike[1]
    assert one.found(LATENCY) == two.found(LATENCY)
    assert one.found(LAYERS).firing_rates == pytest.approx(two.found(LAYERS).firing_rates, rel=1e-12)
    for name, layer in one.found(ENERGY).operations.items():
        assert layer.model_dump() == pytest.approx(two.found(ENERGY).operations[name].model_dump(), rel=1e-12)
    assert alone.versions | {"processes": "2"} == together.versions | {"threads": alone.versions["threads"]} | {
        "recipe": alone.versions["recipe"]
    }
    assert set(alone.versions) >= {"source", "data", "recipe", "device", "deterministic", "torch"}
    assert torch.isfinite(load(folder / "run" / "snn.safetensors")(torch.rand(2, 1, 8, 8))).all()


@pytest.mark.parametrize("variable", ["SLURM_STEP_NUM_TASKS", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_several_processes_that_do_not_know_each_other_must_not_write_one_folder(variable, monkeypatch):
    """As with ``srun -n 2 robustsnn run digits``."""
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ValueError, match=rf"started 2 processes \({variable}\), .* same files: add --devices and --nodes"):
        Engine(accelerator="cpu").launch()
    monkeypatch.setenv(variable, "1")
    assert Engine(accelerator="cpu").launch().size == 1
