"""Whatever goes wrong while a file is written, the run says so in a line, loses nothing, and ends as if nothing had been."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from robustsnn import files
from robustsnn.cli import main
from robustsnn.files import read_tensors
from robustsnn.reporting import read_report

pytestmark = pytest.mark.usefixtures("unchecked")

RECIPE = """
name = "faulty"
timesteps = 2
data.limit = 60
model.width = 0.25
pretrain = {objective = "Natural()", epochs = 2, lr = 0.05, probe = ""}
conversion = {timesteps = 4, batches = 1}
finetune = {objective = "FastAdversarial(eps=0.1)", epochs = 2, lr = 0.01, probe = "FGSM()"}
evaluation = {protocol = "quick", attacks = ["FGSM"], eps = [0.1], limit = 8, audit_images = 0}
"""
KEPT = ["ann.safetensors", "converted.safetensors", "snn.safetensors"]


class PowerCut(BaseException):
    """The end of the process, at any place."""


def full(path: Path, content: bytes) -> None:
    """A disk that takes half of the file."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        files_write(path, content)


def read_only(path: Path, content: bytes) -> None:
    """A folder that takes no files."""

    def mkstemp(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.mkstemp", mkstemp)
        files_write(path, content)


def cut(path: Path, content: bytes) -> None:
    """A disk that lied: the file is there, cut short, when the power returns."""
    files_write(path, content[: len(content) // 2])
    raise PowerCut


files_write = files.write_atomic
FAULTS = {"full disk": full, "read-only folder": read_only, "file cut short": cut}


def run(folder: Path) -> int:
    return main(["run", str(folder / "faulty.toml"), "--out", str(folder / "run")])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a run in which nothing went wrong."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "faulty.toml").write_text(RECIPE)
    assert run(folder) == 0
    return folder / "run"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_first_write_of_every_file(fault, tmp_path, uninterrupted, monkeypatch, capsys):
    (tmp_path / "faulty.toml").write_text(RECIPE)
    hit: list[str] = []

    def write(path: Path, content: bytes) -> None:
        name = path.name.split(".evaluation")[0]
        if name in hit:
            return files_write(path, content)
        hit.append(name)
        return FAULTS[fault](path, content)

    for module in ("files", "recipes.working", "recipes.making", "recipes.measuring"):
        monkeypatch.setattr(f"robustsnn.{module}.write_atomic", write)
    attempts = 0
    while True:
        before = len(hit)
        try:
            status = run(tmp_path)
        except PowerCut:
            status = None
        attempts += 1
        assert attempts < 40
        said = capsys.readouterr().err.strip().splitlines()
        if status == 0:
            break
        if status is None:
            continue
        assert status == 2
        assert len(said) == 1, said
        assert "Traceback" not in said[0]
        if len(hit) > before:
            assert "cannot write" in said[0], "a write that fails is said"
        else:
            remove_named(said[0], tmp_path / "run")
    assert len(hit) >= 9, hit
    for name in KEPT:
        found, expected = read_tensors(tmp_path / "run" / name)[0], read_tensors(uninterrupted / name)[0]
        assert [key for key in expected if not torch.equal(found[key], expected[key])] == []
    found, expected = (read_report((where / "report.json").read_bytes(), where) for where in (tmp_path / "run", uninterrupted))
    assert [[r.broken_by for r in row.report.results] for row in found.rows] == [
        [r.broken_by for r in row.report.results] for row in expected.rows
    ]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(path.name for path in uninterrupted.iterdir())


def remove_named(line: str, folder: Path) -> None:
    """Do what a line says about a file that is damaged."""
    words = {word.strip(":") for word in line.split()}
    (damaged,) = [path for path in folder.iterdir() if str(path) in words]
    damaged.unlink()
