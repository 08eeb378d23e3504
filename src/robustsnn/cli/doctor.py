"""``doctor``: checks what this machine provides, and suggests remedies."""

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from robustsnn.cli import machine
from robustsnn.cli.arguments import Doctor
from robustsnn.cli.terminal import Ended, Terminal
from robustsnn.compute.machine_code import trouble
from robustsnn.data import DATASETS, whereabouts
from robustsnn.data.sources import HERE
from robustsnn.files import cache_folder
from robustsnn.names import one_line
from robustsnn.recipes import load_recipe
from robustsnn.recipes.pipeline import checked
from robustsnn.recipes.working import Run
from robustsnn.reporting import versions

JOB = "digits"
"""The recipe that must be able to run."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Arguments:
        state: ``ok``; ``note``: the recipe `JOB` can run nevertheless; ``fail``: it cannot.
        found: what was found, or what is wrong.
        remedy: what to do, if anything.
    """

    name: str
    state: Literal["ok", "note", "fail"]
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:4}  {self.name:14}  {self.found}" + (f"; {self.remedy}" if self.remedy else "")


def told(name: str, found: str, remedy: str = "") -> Finding:
    """Return a finding that does not prevent `JOB`: ok, or a note if there is a remedy."""
    return Finding(name, "note" if remedy else "ok", found, remedy)


def doctor(chosen: Doctor, terminal: Terminal) -> None:
    """Run ``doctor`` and show each finding as soon as it is known.

    Raises:
        Ended: the recipe `JOB` cannot run.
    """
    found = []
    for finding in diagnose():
        terminal.say(str(finding))
        found.append(finding)
    ready = all(finding.state != "fail" for finding in found)
    terminal.answer({"ready": ready, "findings": found}, lambda: None)
    if not ready:
        raise Ended(1)


def diagnose() -> Iterator[Finding]:
    """Yield all findings. Folders of caches and runs are only tested; the compiler is run."""
    known = versions()
    yield told("robustsnn", f"{known['robustsnn']}, source {known['source']}")
    yield from (told(name, known[name]) for name in ("python", "torch"))
    yield from extras()
    yield from (compiler(device) for device in ("cpu", *["cuda"] * torch.cuda.is_available()))
    yield processor(known["processor"])
    yield memory()
    yield gpu()
    code = machine.code_folder(cache_folder())
    yield cache("compiled code", code, sum(size(path) for path in code.rglob("*")))
    yield cache("data cache", cache_folder(), sum(size(path) for path in cache_folder().glob("*.safetensors")))
    yield from data()
    yield runs(Path("runs"))
    yield job()


def extras() -> Iterator[Finding]:
    """Check the optional packages, by extra."""
    wanted: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("robustsnn") or ():
        asked = re.fullmatch(r"([\w.-]+).*; *extra *== *['\"](\w+)['\"]", line)
        if asked and asked[2] != "dev":
            wanted.setdefault(asked[2], []).append(asked[1])
    for extra, packages in wanted.items():
        there = {package: version(package) for package in packages}
        remedy = "" if all(there.values()) else f"pip install 'robustsnn[{extra}]'"
        text = ", ".join(f"{package} {known or 'absent'}" for package, known in there.items())
        yield told(f"extra {extra}", text, remedy)


def version(package: str) -> str:
    """Return the version of an installed package; empty if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def compiler(device: str) -> Finding:
    """Check whether neurons can be compiled."""
    name = f"compiler, {device}"
    if why := trouble(device):
        remedy = (
            "install a C++ compiler (Debian: apt install g++; macOS: xcode-select --install) or name one in CXX"
            if device == "cpu"
            else "install Triton and a C compiler"
        )
        return told(name, why, f"{remedy}; without it, results are the same but neurons are several times slower")
    cxx = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return told(name, f"works ({shutil.which(cxx) or cxx})" if device == "cpu" else "works")


def processor(kind: str) -> Finding:
    """Check that torch does not use more threads than this process has cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    text = f"{kind}, {cores} core{'s' * (cores > 1)}, torch threads: {threads}"
    return told("CPU", text, f"set OMP_NUM_THREADS={cores}" if threads > cores else "")


def memory() -> Finding:
    """Check the free memory."""
    total, left = (machine.status(name, "/proc/meminfo") / 2**30 for name in ("MemTotal", "MemAvailable"))
    if not total > 0:
        return told("memory", "unknown on this system")
    text = f"{total:.1f} GiB, {left:.1f} GiB free"
    return told("memory", text, "close other programs, or use --memory 500MiB" if left < 1 else "")


def gpu() -> Finding:
    """Check for GPUs that torch can use."""
    if torch.cuda.is_available():
        all_of_them = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return told("GPU", ", ".join(f"{each.name} ({each.total_memory / 2**30:.0f} GiB)" for each in all_of_them))
    if torch.backends.mps.is_available():
        return told("GPU", "Apple (mps)")
    if shutil.which("nvidia-smi"):
        remedy = "install a CUDA build of torch that fits the driver: https://pytorch.org/get-started/locally"
        return told("GPU", "there is an NVIDIA driver, but this torch cannot use it", remedy)
    return told("GPU", "none, so computations run on the CPU")


def cache(name: str, folder: Path, held: int) -> Finding:
    """Check a cache folder."""
    why = unwritable(folder)
    text = f"{folder}, {held / 2**20:.1f} MiB"
    return told(name, f"{text}, cannot be written: {why}", "set XDG_CACHE_HOME to another folder") if why else told(name, text)


def size(path: Path) -> int:
    """Return the size of a file in bytes; 0 for anything else, or if it was just removed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def unwritable(folder: Path) -> str:
    """Return why a folder cannot be written or created; empty if it can."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def data() -> Iterator[Finding]:
    """Check which data sets are on this machine; those that are not share one finding."""
    absent = []
    for name in DATASETS:
        try:
            where = whereabouts(name)
        except ValueError:
            where = ""
        if where:
            yield told(f"data {name}", where)
        else:
            absent.append(name)
    if absent:
        remedy = f"downloaded from the hub on first use (extra datasets), or read from <name>/train*.parquet in ${HERE}"
        if folder := os.environ.get(HERE):
            remedy = f"put <name>/train*.parquet into {folder}, or unset {HERE} to use the hub"
        yield told("other data", f"not here: {', '.join(absent)}", remedy)


def runs(folder: Path) -> Finding:
    """Check the folder of runs."""
    if why := unwritable(folder):
        return Finding("run folder", "fail", f"{folder.absolute()} cannot be written: {why}", "change to another folder")
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    left = shutil.disk_usage(there).free / 2**30
    text = f"{folder.absolute()}, {left:.1f} GiB free"
    return told("run folder", text, "free some space" if left < 1 else "")


def job() -> Finding:
    """Check that the recipe `JOB` can start or continue: its data exist, its networks can be built and converted."""
    name = f"run {JOB}"
    try:
        checked(Run(load_recipe(JOB), Path("runs") / JOB))
    except Exception as error:  # any error means that it cannot run
        return Finding(name, "fail", one_line(error, None))
    return told(name, f"'robustsnn run {JOB}' can run")
