"""The doctor tells what is there and what is not, and whether the main job can run."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import metadata

import pytest

from robustsnn import cli
from robustsnn.cli import doctor
from robustsnn.cli.doctor import Finding
from robustsnn.data.sources import HERE

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def examine(tmp_path, monkeypatch, capsys):
    """``examine()``: exit code, and findings by name, on a machine where a compiler works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "code"))
    monkeypatch.delenv(HERE, raising=False)
    monkeypatch.setattr(doctor, "trouble", lambda device: "")

    def call():
        code = cli.main(["doctor", "--json"])
        document = json.loads(capsys.readouterr().out)
        assert document["ready"] == (code == 0)
        return code, {finding["name"]: Finding(**finding) for finding in document["findings"]}

    return call


def test_one_line_per_finding_on_one_screen(examine, capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert all(line.split()[0] in ("ok", "note", "fail") for line in lines)
    assert lines[-1] == "ok    run digits      'robustsnn run digits' can run"


def test_it_knows_versions_devices_caches_and_data(examine, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/kernel.so").write_bytes(bytes(3 << 20))
    code, found = examine()
    assert code == 0
    extras = {f"extra {name}" for name in metadata("robustsnn").get_all("Provides-Extra") if name != "dev"}
    assert len(extras) > 2
    assert {"robustsnn", "python", "torch", *extras, "compiler, cpu", "CPU", "memory"} <= set(found)
    assert "3.0 MiB" in found["compiled code"].found
    assert found["data digits"].state == "ok"
    assert "cifar10" in found["other data"].found
    assert str(tmp_path / "runs") in found["run folder"].found
    assert [path.name for path in tmp_path.iterdir()] == ["code"], "it leaves nothing behind"


def test_compiled_code_is_where_commands_keep_it(examine, monkeypatch, tmp_path):
    """The check of the compiler imports torch's, which sets the variable to its own folder."""
    default = importlib.import_module("torch._inductor.runtime.cache_dir_utils").default_cache_dir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default)
    _, found = examine()
    assert str(tmp_path / "cache/robustsnn/machine-code") in found["compiled code"].found


def test_what_is_absent_comes_with_the_line_that_installs_it(examine, monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda package: "" if package == "onnxscript" else "1.0")
    code, found = examine()
    assert code == 0
    assert found["extra onnx"] == Finding("extra onnx", "note", "onnx 1.0, onnxscript absent", "pip install 'robustsnn[onnx]'")
    assert found["extra nir"].state == "ok"


def test_without_a_compiler_it_says_what_runs_instead(examine, monkeypatch):
    monkeypatch.setattr(doctor, "trouble", lambda device: "no working C++ compiler found")
    code, found = examine()
    assert code == 0, "the main job runs, if slowly"
    assert found["compiler, cpu"].state == "note"
    assert "no working C++ compiler" in found["compiler, cpu"].found
    assert "results are the same" in found["compiler, cpu"].remedy


def test_data_of_ones_own_are_found(examine, tmp_path, monkeypatch):
    folder = tmp_path / "data/svhn"
    folder.mkdir(parents=True)
    (folder / "train-0.parquet").write_bytes(b"")
    monkeypatch.setenv(HERE, str(tmp_path / "data"))
    _, found = examine()
    assert found["data svhn"].found == str(folder)
    assert "svhn" not in found["other data"].found
    assert f"unset {HERE}" in found["other data"].remedy


def test_caches_that_cannot_be_written_are_a_note(examine, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, found = examine()
    assert code == 0
    assert found["data cache"].state == "note"
    assert "cannot be written" in found["data cache"].found
    assert "XDG_CACHE_HOME" in found["data cache"].remedy


def test_a_run_folder_that_cannot_be_written_is_a_failure(examine, tmp_path):
    (tmp_path / "runs").write_text("")
    code, found = examine()
    assert code == 1
    assert found["run folder"].state == "fail"
    assert "cannot be written" in found["run folder"].found


def test_a_main_job_that_cannot_run_is_a_failure_with_the_reason(examine, tmp_path):
    (tmp_path / "runs/digits").mkdir(parents=True)
    (tmp_path / "runs/digits/ann.safetensors").write_text("damaged")
    code, found = examine()
    assert code == 1
    assert found["run digits"].state == "fail"
    assert "ann.safetensors" in found["run digits"].found
