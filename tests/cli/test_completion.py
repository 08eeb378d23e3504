"""What a tab offers, asked of a real shell; the script is tyro's."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from robustsnn import cli
from robustsnn.cli.arguments import SHELLS
from robustsnn.cli.commands import COMMANDS

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def bash(tmp_path, capsys):
    """``bash(words...)``: what is offered for the last of the words."""
    program = shutil.which("bash") or pytest.skip("no bash")
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def offered(*words):
        ask = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        ask += '$(complete -p robustsnn | sed "s/.*-F \\([^ ]*\\).*/\\1/"); printf "%s\\n" "${COMPREPLY[@]}"'
        call = [program, "--norc", "-c", ask, "bash", str(tmp_path / "script"), "robustsnn", *words]
        return subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    return offered


def test_commands_flags_and_the_words_of_a_flag(bash):
    assert {*COMMANDS} <= set(bash(""))
    assert bash("doc") == ["doctor"]
    assert bash("run", "--finetune.l") == ["--finetune.lr"]
    assert {"convert", "finetune"} <= set(bash("run", "--until", ""))
    assert "--audit-images" in bash("evaluate", "--audit")


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_a_script_for_every_shell(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "robustsnn" in script
    assert "finetune" in script
