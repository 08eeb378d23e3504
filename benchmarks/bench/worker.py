"""A process that does one form of one row whenever it is asked to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench.forms import Case
from benchmarks.bench.rows import ROWS
from robustsnn.allocator import keep_memory
from robustsnn.cli import machine

HOME = Path(__file__).parents[2]


class Worker:
    """The process, seen from outside: one question a line, one answer in JSON."""

    def __init__(self, case: Case, what: str, form: str) -> None:
        ask = json.dumps([asdict(case), what, form])
        self.name = f"{form} of {what}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bench.worker", ask],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HOME,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def run(self) -> float:
        """Do it once: seconds."""
        return float(self.ask("run"))

    def ask(self, question: str) -> Any:
        """``run``: seconds; ``flags``: what the last run broke; ``peak``: bytes of the runs so far beyond those before."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            raise RuntimeError(f"the process for {self.name} died: less memory may do, by a smaller batch") from None


def work(case: Case, what: str, form: str) -> None:
    """The process, seen from inside: answers until its input ends."""
    if form != "plain":
        keep_memory()
    machine.keep_machine_code()
    ROWS[what](replace(case, batch=2, few=2))[form]()  # compilers and libraries are there before memory is looked at
    run, found = ROWS[what](case)[form], None
    before = held(case.device)
    for line in sys.stdin:
        answer: Any = None
        if line.strip() == "run":
            started = time.perf_counter()
            found = run()
            if case.device != "cpu":
                torch.cuda.synchronize()
            answer = time.perf_counter() - started
        elif line.strip() == "flags":
            answer = found.tolist() if isinstance(found, Tensor) and found.dtype == torch.bool else []
        else:
            answer = peak(case.device) - before
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def held(device: str) -> float:
    """Bytes of memory held now, and from now on counted by `peak`; NaN where the system does not tell."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError:
        return float("nan")
    return machine.status("VmRSS")


def peak(device: str) -> float:
    """The most bytes held since `held` was asked; NaN where the system does not tell."""
    if device == "cpu":
        return machine.status("VmHWM")
    return float(torch.cuda.max_memory_allocated())


if __name__ == "__main__":
    given, row, kind = json.loads(sys.argv[1])
    work(Case(**given), row, kind)
