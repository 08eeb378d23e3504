"""A progress bar on a terminal, for one task at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Tell = Callable[[str, float], None]
"""Receives the name of the current task and its completed fraction, up to 1."""


class Bar(Progress):
    """A bar with the remaining time; it shows nothing if the console is not a terminal, or ``off``."""

    def __init__(self, console: Console, off: bool = False) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=off or not console.is_terminal or console.is_dumb_terminal,
        )
        self.only = self.add_task("", total=1.0, visible=False)
        self.what = ""

    def tell(self, what: str, share: float) -> None:
        """Show how far a task is."""
        if what != self.what:
            self.what = what
            self.reset(self.only, description=escape(what), visible=True)
        self.update(self.only, completed=share)


@contextmanager
def shown(tell: Tell | None, first: bool = True) -> Iterator[Tell]:
    """Yield ``tell``, or if it is None a bar on stderr in the ``first`` process, if stderr is a terminal."""
    if tell is not None:
        yield tell
        return
    with Bar(Console(stderr=True), off=not (first and sys.stderr is not None and sys.stderr.isatty())) as bar:
        yield bar.tell
