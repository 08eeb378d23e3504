"""What a page shows, done as a reader would do it, in a world so small that it takes seconds.

A page's blocks are done in order, in one folder: Python in the same names, commands line by line. A block whose first line is
``# NAME.py`` or ``# NAME.toml`` is that file. Then come the commands inside its sentences.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.distributed.run import get_args_parser

from robustsnn import checkpoint, recipes
from robustsnn.attacks import ATTACKS
from robustsnn.cli import doctor, main
from robustsnn.cli import run as running
from robustsnn.cli.commands import is_checkpoint
from robustsnn.conversion import spiking
from robustsnn.data import DATASETS, Dataset, Samples, digits, load_dataset
from robustsnn.data.sources import HUB
from robustsnn.models import MODELS, create
from robustsnn.processes import Team
from robustsnn.recipes import pipeline
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.working import Run
from robustsnn.reporting import RunReport
from robustsnn.seeds import generator
from robustsnn.spiking import PATHS, SURROGATES, Dynamics
from robustsnn.threats import THREATS
from robustsnn.training import OBJECTIVES

HOME = Path(__file__).parents[1]
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
OPTIONAL = {"art", "foolbox", "nir", "onnx", "onnxscript", "snntorch", "spikingjelly", "torchattacks"}
"""Libraries that a page may show and that need not be there."""

MODEL = {"name": "digits", "classes": 10, "size": 8, "channels": 1, "width": 0.25}
SMALL = {
    "data.limit": 60, "data.validation": 0.2, "model.width": 0.1, "timesteps": 2,
    "conversion.timesteps": 3, "conversion.batches": 1, "conversion.batch": 6,
    "pretrain.epochs": 1, "finetune.epochs": 1, "compare": (),
    "evaluation.limit": 4, "evaluation.protocol": "quick",
    "evaluation.attacks": ("FGSM",), "evaluation.eps": (0.1,), "evaluation.audit-images": 0,
}  # fmt: skip
"""Flags that are put behind a command that trains, but for those that it gives itself."""
CHEAP = {"limit": 4, "eps": 0.5, "audit_images": 2, "audit_steps": 2, "audit_queries": 2}
"""Flags that are put behind a command that measures a checkpoint, whatever it gives itself: what breaks soon costs little."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def lines(text: str) -> list[str]:
    """The commands of a block, continued lines joined."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line for line in joined if line.strip() and not line.startswith("#")]


def inside(page: Path) -> list[str]:
    """The commands inside sentences, but for those with a place to fill in, such as RECIPE."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = [" ".join(text.split()) for text in re.findall(r"`((?:robustsnn|make)\s[^`]+)`", prose)]
    return [text for text in found if not re.search(r"\b[A-Z]{3,}\b|\.\.\.|…", text)]


def flags(page: Path) -> list[str]:
    """The flags inside sentences, with their values, but for those with a place to fill in."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = [" ".join(text.split()) for text in re.findall(r"`(--[^`]+)`", prose)]
    return [text for text in found if not re.search(r"\b[A-Z]{3,}\b|\.\.\.|…|path/to", text)]


def tiny_run(folder: Path) -> None:
    """What ``robustsnn run digits --out runs/digits`` leaves, untrained and narrow: ANN and spiking network."""
    ann = create(**MODEL).eval()
    net = spiking(ann, torch.rand(2, 1, 8, 8, generator=generator(0, "tiny run")), Dynamics(2), threshold=0.3)
    for name, module in (("snn", net), ("ann", ann)):
        recipe = {"model": MODEL, "data": {"name": "digits"}, "evaluation": {**CHEAP, "eps": [0.1]}}
        checkpoint.save(folder / f"{name}.safetensors", module, recipe)


embedded = cache(digits)


def images(name: str) -> Dataset:
    """Noise of CIFAR's shape in the place of everything that would have to be fetched."""
    if name not in HUB:
        return embedded() if name == "digits" else load_dataset(name)
    pixels = torch.randint(256, (40, 3, 32, 32), generator=generator(0, name), dtype=torch.uint8)
    noise = Samples(pixels, torch.arange(40) % 10, classes=10)
    return Dataset(name, noise, noise, (0.5,) * 3, (0.5,) * 3)


def run_all(run: Run, until: str = "report") -> RunReport | None:
    """``robustsnn run`` as it is, but where images would have to be fetched: there everything is only prepared.

    tests/recipes/test_packaged.py runs all recipes to the end.
    """
    if run.recipe.data.name not in HUB:
        return recipes.run_all(run, until)
    assert pipeline.checked(run)
    return None


@contextmanager
def small_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Little data, one process where a command asks for several, no benchmark; tables end as they were."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("robustsnn.recipes.working.load_dataset", images)
    monkeypatch.setattr(running, "run_all", run_all)
    monkeypatch.setattr(Engine, "launch", lambda self: Team())
    monkeypatch.setattr(doctor, "trouble", lambda device: "")
    before = [(table, dict(table)) for table in (ATTACKS, DATASETS, MODELS, OBJECTIVES, PATHS, SURROGATES, THREATS)]
    modules = set(sys.modules)
    try:
        yield
    finally:
        for table, entries in before:
            table.clear()
            table.update(entries)
        for name in set(sys.modules) - modules:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]


def do(line: str) -> None:
    """Do what a line asks for; anything but success fails."""
    words = shlex.split(line, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    while "=" in words[0]:  # NAME=value before a command
        words = words[1:]
    if words[0] in ("torchrun", "srun"):
        if words[0] == "torchrun":
            get_args_parser().parse_args(words[1:])
        words = ["robustsnn", *words[max(words.index(w) for w in ("robustsnn",) if w in words) + 1 :]]
    if words[0] == "robustsnn":
        _robustsnn(words[1:], line)
    elif words[0] == "make":
        _make(words)
    elif words[:2] == ["pip", "install"]:
        _extras(words[2:], line)
    elif words[:2] == ["python", "-m"]:
        module = HOME / words[2].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), line
    elif words[:2] == ["mkdir", "-p"]:
        assert words[2:], line
    elif words[0] == "python":
        _python(words[1:], line)
    else:
        raise AssertionError(f"the page shows a command that tests do not know: {line}")


def _robustsnn(words: list[str], line: str) -> None:
    if words[0] == "export":
        for package in ("onnx", "onnxscript") if "onnx" in words else ("nir",):
            pytest.importorskip(package, reason=f"{package} is not installed")
    try:
        status = main([*words, *small(words)])
    except SystemExit as stop:  # help
        status = int(stop.code or 0)
    fine = {"doctor": (0, 1)}.get(words[0], (0, 3) if "--strict" in words else (0,))  # runs/digits is another run here
    assert status in fine, line


def small(words: list[str]) -> list[str]:
    """Flags that make a command quick, to stand behind those that it has."""
    if words[0] == "evaluate" and is_checkpoint(words[1]):
        return [word for key, value in CHEAP.items() for word in (f"--{key}", str(value))]
    added: list[str] = []
    if words[0] != "run":
        return added
    events = {"timesteps": 8, "evaluation.protocol": "events", "evaluation.eps": 0.01, "evaluation.attacks": "events"}
    for key, value in (SMALL | (events if words[1] == "digits-events" else {})).items():
        if f"--{key}" not in words and not (key == "model.width" and "--ann" in words):
            added += [f"--{key}", *map(str, value if isinstance(value, tuple) else (value,))]
    return added


def _make(words: list[str]) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    subprocess.run(["make", "--dry-run", *words[1:]], cwd=HOME, check=True, capture_output=True)


def _extras(words: list[str], line: str) -> None:
    """What pip is asked for is this project, with extras that it has."""
    for word in words:
        if not word.startswith("-"):
            found = re.fullmatch(r"(?:\.|robustsnn)(?:\[([\w,]+)\])?", word)
            assert found, line
            assert set((found[1] or "").split(",")) <= {"", *PROJECT["optional-dependencies"]}, line


def _python(words: list[str], line: str) -> None:
    """A script of the page, with its arguments."""
    with pytest.MonkeyPatch.context() as here:
        here.setattr(sys, "argv", [*words, *small(words[1:])])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(words[0], run_name="__main__")
        assert not stop.value.code, line


def run(codes: list[str], where: Path, names: dict[str, object] | None = None) -> dict[str, object]:
    """Python blocks one after the other, in the same names; what an optional library is missing for is skipped."""
    names = {"__name__": "__main__"} if names is None else names
    try:
        for code in codes:
            exec(compile(code, where.name, "exec"), names)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in OPTIONAL:
            pytest.skip(f"{where.name} needs {error.name}")
        raise
    return names


def follow(page: Path, skip: tuple[str, ...] = ()) -> dict[str, object]:
    """Do a page from top to bottom, but for blocks in the languages ``skip``.

    Returns:
        The names that its Python has given.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    todo = []
    for language, text in blocks(page):
        if name := re.match(r"# ([\w-]+\.(?:py|toml))\n", text):
            Path(name[1]).write_text(text, encoding="utf-8")
        elif language not in skip:
            todo.append((language, text))
    for language, text in todo:
        if language == "python":
            run([text], page, names)
        elif language == "sh":
            for line in lines(text):
                do(line)
    for line in inside(page):
        do(line)
    return names
