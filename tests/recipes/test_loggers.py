"""Experiment trackers: every epoch of every stage reaches them."""

import csv
import sys
from types import SimpleNamespace

import pytest

import robustsnn as rs
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


def test_tensorboard_is_written(tmp_path):
    pytest.importorskip("tensorboardX")
    logger("tensorboard", tmp_path, "pretrain").log_metrics({"loss": 1.0}, step=0)
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_wandb_is_told(tmp_path, monkeypatch):
    told = []
    run = SimpleNamespace(log=lambda metrics, step: told.append((step, metrics)))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: run))
    logger("wandb", tmp_path / "logs", "finetune").log_metrics({"loss": 1.0}, step=3)
    assert told == [(3, {"loss": 1.0})]


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    assert logger(NONE, tmp_path / "none", "pretrain") is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="unknown logger 'csvs'"):
        logger("csvs", tmp_path, "pretrain")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        logger("wandb", tmp_path, "pretrain")
    assert set(LOGGERS) == {"csv", "tensorboard", "wandb"}
