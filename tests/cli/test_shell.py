"""What a shell and a program get from the command line: JSON, plain text, exit codes, progress in a file, a closed pipe."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from composed import changed
from robustsnn import cli
from robustsnn.cli import catalogue, doctor, machine, terminal
from robustsnn.cli import commands as table
from robustsnn.cli import run as running
from robustsnn.cli.terminal import Terminal
from robustsnn.compute import machine_code
from robustsnn.evaluation import Check
from robustsnn.reporting import read_report

pytestmark = pytest.mark.usefixtures("unchecked")

PAGE = Path(__file__).parents[2] / "docs/command-line.md"


@pytest.fixture
def here(ran, tmp_path, monkeypatch):
    """A copy of it, as the working folder; nothing is compiled."""
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "trouble", lambda device: "")
    return tmp_path


def call(capsys, line):
    capsys.readouterr()
    code = cli.main(line.split())
    return code, *capsys.readouterr()


def refuse(name):
    raise ValueError(f"{name} is no JSON")


SNN = "runs/small/snn.safetensors"
REPORT = ["recipe", "command", "versions", "note", "plan", "rows", "lower_bounds", "curves"]
COMMANDS = {
    "run small.toml": REPORT,
    **{f"run small.toml --until {stage}": ["out", "checkpoints"] for stage in ("pretrain", "convert", "finetune")},
    "run small.toml --until evaluate": REPORT,
    f"evaluate {SNN} --limit 2": REPORT,
    f"certify {SNN} --limit 1 --method Smoothing(sigma=0.1,draws=20,first=10)": None,
    "report runs/small": ["page", "groups", "differences"],
    f"info {SNN}": ["file", "kind", "parameters", "recipe", "spiking", "metrics"],
    f"export {SNN} --to onnx --out net.onnx": ["file", "remarks"],
    "doctor": ["ready", "findings"],
    "completion bash": ["shell", "script"],
    **{f"list {kind}": None for kind in catalogue.KINDS},
}


@pytest.mark.parametrize("line", COMMANDS)
def test_json_is_one_document_on_stdout_and_all_else_is_on_stderr(line, here, capsys):
    if "onnx" in line:
        pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    code, out, error = call(capsys, f"{line} --json")
    assert code == 0
    document = json.loads(out, parse_constant=refuse)
    assert COMMANDS[line] in (None, list(document))
    if line.startswith(("run", "report")):
        assert error, "what is said beside the document is still said"


def test_every_command_has_json():
    assert {line.split()[0] for line in COMMANDS} == set(table.COMMANDS)


def test_the_document_of_a_run_is_its_report(here, capsys):
    kept = json.loads((here / "runs/small/report.json").read_text())
    assert json.loads(call(capsys, "run small.toml --until evaluate --json")[1]) == kept


def test_the_document_of_a_comparison_ranks_as_the_page_does(here, capsys):
    (group,) = json.loads(call(capsys, "report runs/small --json")[1])["groups"]
    robust = [network["robust"]["value"] for network in group["networks"]]
    assert robust == sorted(robust, reverse=True)
    assert {"network", "run", "timesteps", "clean", "robust"} == set(group["networks"][0])
    assert group["networks"][0]["run"] == "runs/small"


def test_documents_hold_what_the_lines_say(here, capsys):
    first = json.loads(call(capsys, "list attacks --json")[1])["FGSM"]
    assert f"{first['written']}  # {first['about']}" == call(capsys, "list attacks")[1].splitlines()[0]
    assert json.loads(call(capsys, f"info {SNN} --json")[1])["parameters"] > 2000


def test_a_mistake_leaves_stdout_empty(here, capsys):
    code, out, error = call(capsys, "list modles --json")
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1


def on_a_terminal(monkeypatch, act):
    """What reaches a pseudo-terminal, where one stands in for stdout."""
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as screen, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", screen)
        patch.setenv("TERM", os.environ.get("TERM", "dumb"))  # restored
        act()
        screen.flush()
        os.set_blocking(reader, False)
        text = b""
        with suppress(BlockingIOError):
            while True:
                text += os.read(reader, 1 << 16)
    os.close(reader)
    return text.decode()


def talk():
    machine.plain()
    out = Terminal()
    with out.bar:
        out.progress("evaluating", 0.5)
        out.say("a line")
        out.table(["network", "clean"], [["robust ANN", "97.8"]])
    assert cli.main(["evaluate", "--help"]) == 0


@pytest.mark.parametrize(("variable", "codes"), [("", True), ("1", False)])
def test_no_color_means_no_escape_codes_on_a_terminal(variable, codes, monkeypatch):
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    text = on_a_terminal(monkeypatch, talk)
    assert "robust ANN" in text
    assert "--protocol" in text
    assert ("\x1b" in text) == codes


def test_a_narrow_terminal_cuts_nothing_of_a_table(monkeypatch):
    def draw():
        out = Terminal()
        out.console.width = 40
        out.table(["network", *"abcdefg"], [["SNN, finetuned", *["12.5"] * 7]])

    monkeypatch.setenv("TERM", "xterm-256color")
    text = re.sub(r"\x1b\[\d*m", "", on_a_terminal(monkeypatch, draw))
    assert max(map(len, text.splitlines())) <= 40
    assert "…" not in text
    for letters in ("SNN,finetuned", "12.5" * 7):
        assert not Counter(letters) - Counter(text), "every letter is shown"


@pytest.mark.parametrize("line", ["run small.toml --until evaluate", "report runs/small", "list paths", "doctor"])
def test_no_escape_codes_where_there_is_no_terminal(line, here, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    _, out, error = call(capsys, line)
    assert out
    assert "\x1b" not in out + error


def test_progress_is_on_stderr_where_only_that_is_a_terminal(monkeypatch, capsys):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stderr", Screen())
    out = Terminal()
    with out.bar:
        out.progress("evaluating", 0.5)
    assert "evaluating" in sys.stderr.getvalue()
    assert capsys.readouterr().out == ""


def test_progress_in_a_file_is_a_line_now_and_then(here, capsys, monkeypatch):
    line = f"evaluate {SNN} --limit 4 --batch 2"
    assert not re.search(r": \d+%\n", call(capsys, line)[1]), "what takes seconds needs no lines"
    monkeypatch.setattr(terminal, "EVERY", 0.0)
    assert re.search(r"^snn\.safetensors: FGSM at 0\.1: \d+%$", call(capsys, line)[1], re.M)


def test_progress_in_a_file_does_not_flood(capsys, monkeypatch):
    now = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    out = Terminal()
    for step in range(300):
        out.progress("training", step / 300)
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len(lines) <= 300 / terminal.EVERY
    assert lines[0].startswith("training: ")


def test_a_reader_who_has_gone_ends_neither_the_work_nor_in_noise(unread, capsys, here):
    for line in ("list paths", "list paths --json", f"info {SNN}", "run digits --help", "--help"):
        with unread("stdout"):
            assert cli.main(line.split()) == 0
    assert capsys.readouterr().err == ""


def compiling(run, until):
    """What a stage does that says something on both channels."""
    machine_code.log.info("compiling")
    run.listener.say("a line")
    return audited("fail")


def test_a_broken_stderr_leaves_status_and_document_as_they_are(unread, monkeypatch, capsys, here):
    monkeypatch.setattr(running, "run_all", compiling)
    line = ["run", "small.toml", "--strict", "--json"]
    capsys.readouterr()
    with unread("stderr"):
        assert cli.main(line) == 3
    assert json.loads(capsys.readouterr().out)["rows"]
    with unread("stdout", "stderr"):
        assert cli.main(line) == 3
    with unread("stderr"):
        assert cli.main(["runn"]) == 2


def test_another_broken_pipe_than_that_of_a_reader_is_an_error(monkeypatch, capsys, here):
    monkeypatch.setattr(running, "run_all", stop(BrokenPipeError("a worker is gone")))
    code, _, error = call(capsys, "run small.toml")
    assert code == 1
    assert "a worker is gone" in error


@pytest.mark.parametrize(("line", "status"), [("--help |", 0), ("runn 2>&1 |", 2), ("runn >&- 2>&- |", 2)])
def test_a_process_keeps_its_exit_status_behind_a_pipe(line, status, tmp_path):
    command = f"{sys.executable} -m robustsnn {line} true; exit ${{PIPESTATUS[0]}}"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # noticed only at exit
    ended = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=buffered, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (status, "")


def stop(error):
    def act(run, until):
        raise error

    return act


def audited(verdict):
    """The report of the run, with a check of an audit in it."""
    report = read_report(Path("runs/small/report.json").read_bytes(), "small")
    check = Check(name="gradients", figure=0.5, verdict=verdict, meaning="images without any gradient")
    rows = [row.model_copy(update={"report": changed(row.report, audit=(check,))}) for row in report.rows]
    return report.model_copy(update={"rows": tuple(rows)})


EXITS = {
    0: ("list models", None),
    1: ("run small.toml", stop(KeyError("a bug"))),
    2: ("runn", None),
    3: ("run small.toml --strict", lambda run, until: audited("fail")),
    130: ("run small.toml", stop(KeyboardInterrupt())),
    143: ("run small.toml", lambda run, until: os.kill(os.getpid(), signal.SIGTERM)),
}


@pytest.mark.parametrize("code", cli.EXITS)
def test_every_exit_code(code, here, capsys, monkeypatch):
    line, act = EXITS[code]
    if act:
        monkeypatch.setattr(running, "run_all", act)
    assert call(capsys, line)[0] == code


def test_a_wrong_flag_of_any_command_is_a_mistake(here, capsys):
    for line in ("run small.toml --nets x", f"export {SNN} --oot x", "doctor now", "completion ksh", "list attacks please"):
        code, out, error = call(capsys, line)
        assert (code, out) == (2, ""), line
        assert len(error.splitlines()) == 1, error


def test_a_failed_check_is_told_by_the_exit_code_only_where_that_was_asked_for(here, capsys, monkeypatch):
    monkeypatch.setattr(running, "run_all", lambda run, until: audited("pass"))
    assert call(capsys, "run small.toml --strict")[0] == 0
    monkeypatch.setattr(running, "run_all", lambda run, until: audited("fail"))
    assert call(capsys, "run small.toml")[0] == 0
    code, out, _ = call(capsys, "run small.toml --strict --json")
    assert code == 3
    assert json.loads(out)["rows"], "the document is there all the same"


def test_help_and_page_have_the_same_exit_codes(capsys):
    rows = re.findall(r"^\| `(\d+)` \| (.*?) \|$", PAGE.read_text(), re.M)
    assert [(int(code), meaning.replace("`", "'")) for code, meaning in rows] == [
        (code, meaning.replace("--strict", "'--strict'")) for code, meaning in cli.EXITS.items()
    ]
    assert cli.main(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{code} {meaning}" in told for code, meaning in cli.EXITS.items())


def test_the_page_has_every_command_kind_and_variable():
    text = PAGE.read_text()
    assert [name for name in table.COMMANDS if f"`{name}" not in text] == []
    assert [kind for kind in catalogue.KINDS if f"`{kind}`" not in text] == []
    source = "".join(file.read_text() for file in (Path(cli.__file__).parents[1]).rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get|\.setdefault)?[\[(]"(\w+)"', source)) - {"TERM", "CUBLAS_WORKSPACE_CONFIG"}
    assert {"NO_COLOR", "XDG_CACHE_HOME"} <= read
    assert [name for name in (*read, "ROBUSTSNN_DATA") if f"`{name}`" not in text] == []


def test_a_run_may_be_kept_in_the_working_folder(here, monkeypatch, capsys):
    (here / "home").mkdir()
    monkeypatch.chdir(here / "home")
    shutil.copy("../small.toml", "../small.TOML")
    code, out, error = call(capsys, "run ../small.TOML --out .")
    assert (code, error) == (0, "")
    assert "The report is in report.html" in out
    assert "--out home-again" in read_report(Path("report.json").read_bytes(), "report.json").command


def test_a_name_that_no_file_can_have_is_a_mistake(here, capsys):
    code, _, error = call(capsys, f"run small.toml --out {'x' * 300}")
    assert code == 2
    assert "name is too long" in error
    assert "choose a shorter one" in error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_a_terminal_cannot_write_is_spelled_out(encoding, here):
    words = [sys.executable, "-m", "robustsnn", "report", "runs/small"]
    done = subprocess.run(words, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=True)
    assert b"eps = 0" in done.stdout
    assert not done.stderr
