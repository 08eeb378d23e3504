"""What the command line sets up of the machine."""

import importlib
import os
import platform
import subprocess
import sys

import pytest
import torch

from robustsnn import cli
from robustsnn.cli import entry, machine
from robustsnn.compute import machine_code


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_the_c_library_takes_what_it_is_told():
    answer = subprocess.run(
        [sys.executable, "-c", "import robustsnn; raise SystemExit(not robustsnn.keep_memory())"],
        check=False,
    )
    assert answer.returncode == 0


@pytest.mark.parametrize(("flags", "told"), [([], [True]), (["--system-allocator"], [])])
def test_only_the_command_line_tunes_the_allocator_and_a_flag_turns_it_off(flags, told, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(entry, "keep_memory", lambda: calls.append(True))
    assert cli.main(["list", "models", *flags]) == 0
    assert calls == told
    assert "resnet20" in capsys.readouterr().out


def test_machine_code_is_kept_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine.keep_machine_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "robustsnn" / "machine-code")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    machine.keep_machine_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"


def test_machine_code_is_not_kept_where_torch_puts_it_unasked(monkeypatch, tmp_path):
    """Importing torch's compiler sets the variable to a folder that a restart of the machine empties."""
    default = importlib.import_module("torch._inductor.runtime.cache_dir_utils").default_cache_dir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine.keep_machine_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "robustsnn" / "machine-code")


@pytest.mark.parametrize("cold", [True, False])
def test_who_waits_for_the_compiler_is_told_why_once_on_a_machine(cold, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache" if cold else tmp_path))
    lines = []
    for _ in range(3):  # as many commands in one process
        machine.keep_machine_code(lines.append)
    machine_code.log.info("compiling")
    machine_code.log.info("compiling")
    assert [str(tmp_path) in line for line in lines] == [True] * cold


def test_only_algorithms_that_repeat_their_bits_are_let_in(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    try:
        machine.deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
