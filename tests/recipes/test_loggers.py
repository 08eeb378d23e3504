"""Experiment trackers: every epoch of every stage reaches them."""

import csv
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

import robustsnn as rs
from robustsnn.recipes import Listener
from robustsnn.recipes.loggers import LOGGERS, NONE, logger

pytestmark = pytest.mark.usefixtures("unchecked")
EPOCHS = {"epochs": 2, "objective": "Natural()", "probe": ""}
SMALL = {
    "timesteps": 2,
    "data": {"limit": 60},
    "model": {"width": 0.25},
    "pretrain": EPOCHS,
    "finetune": EPOCHS,
    "compare": [],
}


def test_a_csv_file_holds_every_epoch(tmp_path):
    rs.run("digits", tmp_path, until="finetune", logger="csv", **SMALL)
    for stage in ("pretrain", "finetune"):
        (file,) = (tmp_path / "logs" / stage).rglob("metrics.csv")
        rows = list(csv.DictReader(file.open()))
        assert [row["step"] for row in rows] == ["0", "1"]
        assert {"loss", "clean"} <= rows[0].keys()


def test_a_resumed_run_tells_a_new_tracker_everything(tmp_path):
    """The run stops after an epoch is kept and before it is logged."""

    def stop(line):
        if "epoch 1/2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rs.run("digits", tmp_path, until="pretrain", logger="csv", listener=Listener(say=stop), **SMALL)
    rs.run("digits", tmp_path, until="pretrain", logger="csv", **SMALL)
    (*_, last) = sorted((tmp_path / "logs/pretrain").rglob("metrics.csv"))
    assert [row["step"] for row in csv.DictReader(last.open())] == ["0", "1"]


def test_a_process_that_runs_alone_logs_whatever_rank_its_scheduler_gave_it(tmp_path, monkeypatch):
    """As with ``srun -n 4``, each process with a recipe of its own."""
    zero = pytest.importorskip("lightning_fabric.utilities.rank_zero").rank_zero_only
    monkeypatch.setattr(zero, "rank", 1)
    for _ in range(2):
        with logger("csv", tmp_path, "pretrain") as opened:
            opened.log_metrics({"loss": 1.0}, step=0)
            opened.log_metrics({"loss": 0.5, "robust": 0.25}, step=1)
    assert zero.rank == 1, "another library's state stays as it is"
    one, other = sorted(tmp_path.rglob("metrics.csv"))
    assert one.read_bytes() == other.read_bytes()
    assert [*csv.DictReader(one.open())][1] == {"step": "1", "loss": "0.5", "robust": "0.25"}


def test_tensorboard_is_written_when_the_stage_ends(tmp_path):
    pytest.importorskip("tensorboardX")
    with logger("tensorboard", tmp_path, "pretrain") as opened:
        opened.log_metrics({"loss": 1.0}, step=0)
    (file,) = tmp_path.rglob("events.out.tfevents*")
    assert file.stat().st_size


@pytest.mark.parametrize("fails", [False, True])
def test_wandb_is_told_and_its_run_ends(fails, tmp_path, monkeypatch):
    told, named = [], []
    run = SimpleNamespace(log=lambda metrics, step: told.append((step, metrics)), finish=told.append)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: named.append(options["name"]) or run))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext(), logger("wandb", Path("logs"), "finetune") as opened:
        opened.log_metrics({"loss": 1.0}, step=3)
        if fails:
            raise KeyboardInterrupt
    assert told == [(3, {"loss": 1.0}), int(fails)]
    assert named == [f"{tmp_path.name} finetune"]


def test_a_tracker_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    def unknown(**options):
        raise RuntimeError("api_key not configured (no-tty).\n  call wandb.login()")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=unknown))
    with pytest.raises(ValueError, match=r"logger 'wandb' cannot start: api_key not configured \(no-tty\)\. call"):
        rs.run("digits", tmp_path, until="pretrain", logger="wandb", **SMALL)


MISSING = [("csvs", "unknown logger 'csvs'"), (None, "mean 'none'"), ("wandb", "pip install wandb")]


@pytest.mark.parametrize(("name", "line"), MISSING)
def test_what_is_not_there_is_said_before_anything_is_written(name, line, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=line):
        rs.run("digits", tmp_path / "run", until="pretrain", logger=name, **SMALL)
    assert not (tmp_path / "run").exists()
    with logger(NONE, tmp_path / "none", "pretrain") as opened:
        assert opened is None
    assert not (tmp_path / "none").exists()
    assert set(LOGGERS) == {"csv", "tensorboard", "wandb"}
