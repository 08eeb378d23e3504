"""What a person at the command line sees: lines, a bar with the time left, tables. Or a program: one JSON document."""

from __future__ import annotations

import codecs
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, TextIO

from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from robustsnn.recipes import Listener

if TYPE_CHECKING:
    import robustsnn.reporting

EVERY = 30.0
"""Seconds of silence after which a line says how far things are, where no bar is drawn."""


class Ended(Exception):
    """A command is done, and its exit status tells something that was found; see `EXITS`."""

    def __init__(self, status: int) -> None:
        self.status = status


def document(value: object) -> bytes:
    """JSON of models, frozen values, mappings, lists, paths, numbers and texts; NaN becomes null."""
    return to_json(value, indent=1, inf_nan_mode="null")


def tell(line: str, stream: TextIO | None) -> None:
    """A line on a stream, unless that is closed or nobody reads it any more, as behind ``| head``: the work is more than
    what is said of it."""
    if stream is None:
        return
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        unheard(stream)


def complain(line: str) -> None:
    """A line on stderr, as everything that went wrong is said."""
    tell(f"robustsnn: {line}", sys.stderr)


SIGNS = {"ε": "eps", "“": '"', "”": '"', "\N{EN DASH}": "-", "…": "...", "±": "+-"}
"""What is written instead of a sign that the stream cannot encode. Any other sign becomes a question mark."""


def spelled_out() -> None:
    """From now on, what stdout and stderr cannot write is written in `SIGNS`."""

    def signs(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return "".join(SIGNS.get(sign, "?") for sign in error.object[error.start : error.end]), error.end

    codecs.register_error("robustsnn", signs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="robustsnn")


def unheard(stream: IO[str]) -> None:
    """Give what is still written to a stream to nobody."""
    with open(os.devnull, "wb") as nobody:
        os.dup2(nobody.fileno(), stream.fileno())


def flush() -> None:
    """Write out what the streams hold back, which a reader who has gone would make an error at exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            unheard(stream)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on unheard, on this stream alone."""
        unheard(self.file)


class Terminal:
    """Prints lines and tables, and on a terminal a progress bar with the time left.

    Arguments:
        json: what a command finds is printed as one JSON document, and whatever else is said goes to stderr.
        quiet: nothing is said of how things go.
        verbose: all tables of a report are shown.
        words: what stood behind the command, for a report to repeat.
    """

    def __init__(self, json: bool = False, quiet: bool = False, verbose: bool = False, words: Sequence[str] = ()) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.words = words
        self.console = _Console(stderr=json, soft_wrap=True, highlight=False, emoji=False)
        if not self.console.is_terminal:
            self.console.width = 1000  # a file has room for whole tables
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal or self.console.is_dumb_terminal,
        )
        self.task = self.bar.add_task("", total=1.0, visible=False)
        self.what = ""
        self.said = time.monotonic()

    def mute(self) -> None:
        """Say nothing: another process does."""
        self.console.quiet = self.bar.disable = True

    def progress(self, what: str, share: float) -> None:
        if self.bar.disable:
            if not self.quiet and time.monotonic() - self.said >= EVERY:
                self.note(f"{what}: {share:.0%}")
            return
        if what != self.what:
            self.what = what
            self.bar.reset(self.task, description=escape(what), visible=True)
        self.bar.update(self.task, completed=share)

    def say(self, line: str) -> None:
        """A line of what is found."""
        self.said = time.monotonic()
        self.console.print(escape(line))

    def note(self, line: str) -> None:
        """A line of how things go."""
        if not self.quiet:
            self.say(line)

    def listener(self) -> Listener:
        return Listener(self.note, self.progress)

    def raw(self, text: str) -> None:
        """Text on stdout, as it is."""
        tell(text, sys.stdout)

    def answer(self, value: object, show: Callable[[], None]) -> None:
        """Give what a command has found, once: as one JSON document on stdout if that was asked for, else as ``show`` does.

        Arguments:
            value: see `document`.
        """
        if self.console.quiet:
            return
        if self.json:
            self.raw(document(value).decode())
        else:
            show()

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        drawn = Table(show_edge=False, pad_edge=False)
        for i, title in enumerate(head):
            drawn.add_column(escape(title), justify="right" if i else "left")
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        self.console.print(drawn)

    def comparison(self, runs: Mapping[str, robustsnn.reporting.RunReport]) -> None:
        """Show the networks of several runs, ranked, and in what the runs differ."""
        from robustsnn.reporting.comparison import APART, DIFFER, contrast, groups, ranks, winner

        measured = groups(runs)
        for group in measured:
            self.say(f"\n{group.title}\n{winner(group)}\n")
            self.table(*ranks(group))
        head, rows = contrast(runs)
        if rows:
            self.say(f"\n{DIFFER}\n")
            self.table(head, rows)
        self.say(f"\n{APART}" if len(measured) > 1 else "")

    def report(self, value: robustsnn.reporting.RunReport) -> None:
        """Show a report."""
        from robustsnn.evaluation.measures.audit import audited
        from robustsnn.reporting import failures, sections, summary, table, verdict, warned

        self.say(f"\n{verdict(value)}\n".replace("\N{NO-BREAK SPACE}", " "))
        self.table(*table(value, bounds=False))
        told = sections(value).values()
        for section in told if self.verbose else ():
            self.say(f"\n{section.title}\n")
            self.table(*section.table)
        self.say("\n" + summary(value, bounds=False))
        if told and not self.verbose:
            self.note(f"More, by --verbose and in the report: {', '.join(section.title for section in told)}.")
        for line in filter(None, (audited(value.rows), *failures(value), *warned(value))):
            self.say(f"audit: {line}")
