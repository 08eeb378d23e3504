"""Two processes that share every batch follow the losses of one, and count the same flags."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from robustsnn.processes import Team, one_process
from robustsnn.recipes.engine import Engine
from robustsnn.training.distributed import synchronised

SCRIPT = Path(__file__).with_name("together.py")


def ran(devices: int, folder: Path) -> dict:
    """What `together.py` says with that many processes."""
    out = folder / f"{devices}.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, SCRIPT, str(devices), str(out)], check=True, timeout=300, env=environment)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What one process and two say; computed in float64."""
    folder = tmp_path_factory.mktemp("together")
    return ran(1, folder), ran(2, folder)


def test_losses_are_those_of_one_process(told):
    alone, together = told
    assert len(alone["losses"]) == 3
    assert together["losses"] == pytest.approx(alone["losses"], abs=1e-9)


def test_statistics_and_thresholds_agree_in_all_processes(told):
    alone, together = told
    assert together["thresholds"] == pytest.approx(alone["thresholds"], abs=1e-9)
    assert together["statistics"] == pytest.approx(alone["statistics"], abs=1e-9)
    assert together["apart"] == 0


def test_flags_are_those_of_one_process(told):
    alone, together = told
    assert together["flags"] == alone["flags"]
    assert together["costs"] == alone["costs"]
    assert len({flag for flags in alone["flags"] for flag in flags}) > 2


def test_an_evaluation_that_was_cut_short_is_continued_by_all(told):
    alone, together = told
    assert together["resumed"] == alone["flags"]


def test_a_batch_is_shared_without_rest(monkeypatch):
    teams = [Team(one_process()) for _ in range(3)]
    for rank, team in enumerate(teams):
        monkeypatch.setattr(type(team.fabric), "world_size", property(lambda self: 3))
        monkeypatch.setattr(type(team.fabric), "global_rank", property(lambda self, rank=rank: rank))
        assert team.share(8).tolist() == list(range(rank, 8, 3))
        assert team.share(2).tolist() == [0, 1], "fewer images than processes: each takes all"


@pytest.mark.parametrize("team", [Team(), Team(one_process())], ids=("no fabric", "fabric"))
def test_alone_nothing_is_asked_of_others(tmp_path, team):
    assert (team.size, team.rank, team.device) == (1, 0, torch.device("cpu"))
    assert team.agree("mine") == "mine"
    team.wait()
    values = torch.tensor([1, 2, 3])
    assert team.first
    assert team.share(3).tolist() == [0, 1, 2]
    assert torch.equal(team.total(values), values)
    assert torch.equal(team.merge(values), values)
    assert team.agree("x") == "x"
    assert team.own(tmp_path / "x") == tmp_path / "x"


def test_a_norm_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="1 is a BatchNorm1d"):
        synchronised(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


@pytest.mark.parametrize(("text", "amount"), [("8GiB", 2**33), ("500MiB", 500 * 2**20), ("1.5 GB", 3 * 2**29), ("", None)])
def test_memory_is_an_amount(text, amount):
    assert Engine(memory=text).budget() == amount


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "wrong",
    [{"memory": "much"}, {"memory": "0GiB"}, {"devices": 0}, {"nodes": -1}, {"accelerator": "gpu"}, {"strategy": "fsdp"}],
)
def test_an_engine_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be"):
        Engine(**wrong)


@pytest.mark.parametrize(("cuda", "mps"), [(1, False), (0, True)])
def test_more_devices_than_there_are_is_said_before_lightning_starts(cuda, mps, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for accelerator in ("auto", "cuda" if cuda else "mps"):
        with pytest.raises(ValueError, match=f"--accelerator {accelerator} needs 2 .* torch finds 1"):
            Engine(accelerator=accelerator, devices=2).launch()


def test_without_a_gpu_one_process_needs_no_lightning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Engine().launch() == Team()
