"""What a tab offers, asked of real shells."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from robustsnn import cli
from robustsnn.catalogue import KINDS
from robustsnn.commands import STAGES
from robustsnn.recipes import packaged

pytestmark = pytest.mark.usefixtures("unchecked")


def script(shell, capsys):
    capsys.readouterr()
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def bash(tmp_path, monkeypatch, capsys):
    """``bash(words...)``: what is offered for the last of the words, each cut as bash cuts them."""
    program = shutil.which("bash") or pytest.skip("no bash")
    folder = tmp_path / "elsewhere"
    for name in ("mine.toml", "net.safetensors", "a net.safetensors", "notes.txt", "runs/x/report.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (tmp_path / "script").write_text(script("bash", capsys))

    def offered(*words):
        ask = 'set -u; source "$1"; shift; complete -p robustsnn >&2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        ask += '_robustsnn; ((${#COMPREPLY[@]})) && printf "%s\\n" "${COMPREPLY[@]}"; true'
        call = [program, "--norc", "-c", ask, "bash", str(tmp_path / "script"), "robustsnn", *words]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines() == ["complete -F _robustsnn robustsnn"]
        return done.stdout.splitlines()

    return offered


def test_commands(bash):
    assert {*STAGES, "list", "info", "export", "bench", "doctor", "completion"} == set(bash(""))
    assert bash("doc") == ["doctor"]


def test_names(bash):
    assert bash("list", "at") == ["attacks"]
    assert bash("list", "") == [*KINDS]
    assert bash("completion", "") == ["bash", "zsh"]
    assert bash("run", "dig") == ["digits"]
    assert {"digits", "cifar10-small", "mine.toml", "runs"} <= set(bash("run", ""))
    assert not {"notes.txt", "net.safetensors"} & set(bash("run", ""))


def test_baselines_behind_the_colon_at_which_bash_cuts(bash):
    assert bash("run", "cifar10-small", ":", "sn") == ["snn_rat"]
    assert bash("run", "digits", ":") == ["natural"]


def test_files_by_their_endings(bash):
    assert set(bash("info", "")) == {"a net.safetensors", "net.safetensors", "mine.toml", "runs", *packaged()}
    assert set(bash("info", "net.safetensors", "--")) == {"--json", "--system-allocator", "--help"}
    assert "--finetune.epochs" in bash("info", "digits", "--fine")
    assert bash("info", "a") == ["a net.safetensors"]
    assert {"net.safetensors", "mine.toml", "digits"} <= set(bash("evaluate", ""))
    assert bash("report", "runs/x", "runs/") == ["runs/x"]
    assert bash("run", "digits", "--out", "") == ["runs"]
    assert bash("run", "digits", "--weights", "n") == ["net.safetensors"]


def test_flags_and_their_values(bash):
    assert bash("run", "digits", "--finetune.l") == ["--finetune.lr"]
    assert bash("run", "digits", "--neurons.reset", "") == ["zero", "subtract"]
    assert bash("finetune", "digits", "--data.name", "cifar") == ["cifar10", "cifar100"]
    assert bash("run", "digits", "--finetune.lr", "") == []
    assert "--finetune.lr" in bash("run", "digits", "--finetune.lr", "0.1", "")
    assert bash("evaluate", "net.safetensors", "--prot") == ["--protocol"]
    assert bash("evaluate", "digits", "--prot") == []
    assert bash("export", "net.safetensors", "--target", "n") == ["norse"]
    assert "--json" in bash("list", "attacks", "-")


@pytest.mark.parametrize("line", ["run digits", "bench", "export x.safetensors"])
def test_the_flags_are_those_of_the_help(line, bash, capsys):
    """No flag is forgotten, and none invented."""
    with pytest.raises(SystemExit):
        cli.main([*line.split(), "--help"])
    told = capsys.readouterr().out.replace("\n", " ")
    known = set(re.findall(r"(?<![\w.-])--[a-z][\w.-]*", told)) - {"--help"}
    ours = {"--json", "--strict", "--system-allocator", "--help"}
    assert set(bash(*line.split(), "--")) - ours == known


def test_zsh_reads_the_script(tmp_path, capsys):
    program = shutil.which("zsh") or pytest.skip("zsh is not installed")
    (tmp_path / "_robustsnn").write_text(script("zsh", capsys))
    subprocess.run([program, "-n", str(tmp_path / "_robustsnn")], check=True)
    stubs = "compdef() { }; compadd() { shift; print -l -- $@ }; _files() { print -l -- files $@ }; "
    ask = f"{stubs} source {tmp_path}/_robustsnn; words=(robustsnn info n) CURRENT=3 PREFIX=n; _robustsnn"
    answer = subprocess.run([program, "-f", "-c", ask], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["files", "-g", "*(.safetensors)(-.)"]
    ask = f"{stubs} source {tmp_path}/_robustsnn; words=(robustsnn list '') CURRENT=3 PREFIX=; _robustsnn"
    assert subprocess.run([program, "-f", "-c", ask], capture_output=True, text=True, check=True).stdout.split() == [*KINDS]


def test_zsh_finds_the_script_as_an_autoloaded_function(capsys):
    text = script("zsh", capsys)
    assert text.startswith("#compdef robustsnn\n")
    assert "compdef _robustsnn robustsnn" in text
