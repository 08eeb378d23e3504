"""The names that people type: commands, stages, flags. A change here is one that they notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from robustsnn.cli.commands import COMMANDS, MOVED
from robustsnn.cli.parse import flags
from robustsnn.recipes import STAGES

FROZEN = Path(__file__).with_name("surface.txt")


def surface():
    """A line per command, and below it one per flag, with other spellings and the words that may follow."""
    for name, command in COMMANDS.items():
        yield f"{name} {command.needs}".rstrip()
        for flag, told in flags(command.default).items():
            yield "  ".join(["", ", ".join((flag, *told.aliases)), *([" | ".join(told.words)] if told.words else [])])


def test_commands_and_flags_are_those_that_people_know():
    assert "\n".join(surface()) + "\n" == FROZEN.read_text(), "a flag that goes or moves needs an error that says the new one"


def test_what_has_moved_is_no_command():
    assert not MOVED.keys() & COMMANDS.keys()
    assert {"pretrain", "convert", "finetune", "bench"} == MOVED.keys()
    assert list(STAGES) == ["pretrain", "prune", "staircase", "convert", "finetune", "evaluate", "report"]


LIGHT = [
    "--help",
    "--version",
    "list recipes",
    "list zoo",
    "completion bash",
    "run --help-all",
    "evaluate --help",
    "report --help",
]


@pytest.mark.parametrize("line", LIGHT)
def test_what_computes_nothing_waits_for_no_torch(line, tmp_path):
    code = f"""if True:
        import sys, time
        from robustsnn.cli import main
        assert main({line.split()!r}) == 0
        print("torch" in sys.modules, time.process_time(), file=sys.stderr)
    """
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    torch, seconds = ended.stderr.split()
    assert torch == "False"
    assert float(seconds) < 1.5, "half a second on an idle machine"


def test_the_package_gives_its_names_when_they_are_asked_for():
    code = """if True:
        import sys
        import robustsnn
        assert "torch" not in sys.modules and not hasattr(robustsnn, "nothing")
        assert robustsnn.models.create is not None
        for name in robustsnn.__all__:
            assert getattr(robustsnn, name).__name__ == name
    """
    subprocess.run([sys.executable, "-c", code], check=True)
