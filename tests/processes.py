"""``robustsnn`` in processes of its own, one of which may send itself a signal at a place that is told by its name.

A signal from outside comes too early on one machine and too late on another.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from robustsnn import cli
from robustsnn.cli.terminal import Terminal

Ended = subprocess.CompletedProcess[str]


def called(folder: Path, *args: str, at: str = "", by: int = signal.SIGKILL, rank: int = 0) -> Ended:
    """A command in a folder, until it ends.

    Arguments:
        at: words of a line, or of what the bar shows, at which the process is sent a signal; none: at none.
        by: the signal.
        rank: which of several processes it is.
    """
    place = {"STOP_AT": at, "STOP_BY": str(int(by)), "STOP_RANK": str(rank)}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **place}
    command = [sys.executable, str(Path(__file__).resolve()), *args]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def stopping(tell: Callable[..., None]) -> Callable[..., None]:
    """A terminal's method, after which the process gets its signal where the place is reached."""

    def told(self: Terminal, what: str, *rest: float) -> None:
        tell(self, what, *rest)
        if os.environ["STOP_AT"] in what and os.environ.get("LOCAL_RANK", "0") == os.environ["STOP_RANK"]:
            os.kill(os.getpid(), int(os.environ["STOP_BY"]))

    return told


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a job in the background starts would ignore it
    if os.environ["STOP_AT"]:
        Terminal.say, Terminal.progress = stopping(Terminal.say), stopping(Terminal.progress)  # type: ignore[method-assign]
    sys.exit(cli.main())
