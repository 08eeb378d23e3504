"""Output of the command line: lines, tables and a progress bar, or one JSON document."""

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
from rich.table import Table

from robustsnn.progress import Bar
from robustsnn.recipes import Listener

if TYPE_CHECKING:
    import robustsnn.reporting

EVERY = 30.0
"""Seconds between progress lines if no bar is shown."""


class Ended(Exception):
    """Ends a command with an exit status other than 0, see `EXITS`."""

    def __init__(self, status: int) -> None:
        self.status = status


def document(value: object) -> bytes:
    """Return the JSON of models, dataclasses, mappings, lists, paths, numbers and strings; NaN becomes null."""
    return to_json(value, indent=1, inf_nan_mode="null")


def tell(line: str, stream: TextIO | None) -> None:
    """Print a line to a stream. A closed stream or broken pipe, as with ``| head``, must not stop the work."""
    if stream is None:
        return
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        unheard(stream)


def complain(line: str) -> None:
    """Print an error line to stderr."""
    tell(f"robustsnn: {line}", sys.stderr)


SIGNS = {"ε": "eps", "“": '"', "”": '"', "\N{EN DASH}": "-", "…": "...", "±": "+-"}
"""Replacements for characters that a stream cannot encode; others become question marks."""


def spelled_out() -> None:
    """Make stdout and stderr replace characters that they cannot encode, as in `SIGNS`."""

    def signs(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return "".join(SIGNS.get(sign, "?") for sign in error.object[error.start : error.end]), error.end

    codecs.register_error("robustsnn", signs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="robustsnn")


def unheard(stream: IO[str]) -> None:
    """Discard everything that is still written to a stream."""
    with open(os.devnull, "wb") as nobody:
        os.dup2(nobody.fileno(), stream.fileno())


def flush() -> None:
    """Flush stdout and stderr, ignoring broken pipes, which would be an error at exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            unheard(stream)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Continue, and discard this stream's output."""
        unheard(self.file)


class Terminal:
    """Prints lines and tables, and a progress bar with the remaining time if stdout or stderr is a terminal.

    Arguments:
        json: print the result as one JSON document on stdout, everything else on stderr.
        quiet: print no progress.
        verbose: print all tables of a report.
        words: the words after the command, for the report's command line.
    """

    def __init__(self, json: bool = False, quiet: bool = False, verbose: bool = False, words: Sequence[str] = ()) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.words = words
        self.console = _Console(stderr=json, soft_wrap=True, highlight=False, emoji=False)
        if not self.console.is_terminal:
            self.console.width = 1000  # do not wrap tables in files
        self.bar = Bar(self.console if self.console.is_terminal else _Console(stderr=True), off=quiet)
        self.said = time.monotonic()

    def mute(self) -> None:
        """Print nothing, because another process does."""
        self.console.quiet = self.bar.disable = True

    def progress(self, what: str, share: float) -> None:
        if self.bar.disable:
            if not self.quiet and time.monotonic() - self.said >= EVERY:
                self.note(f"{what}: {share:.0%}")
            return
        self.bar.tell(what, share)

    def say(self, line: str) -> None:
        """Print a line of the result."""
        self.said = time.monotonic()
        self.console.print(escape(line))

    def note(self, line: str) -> None:
        """Print a line of progress."""
        if not self.quiet:
            self.say(line)

    def listener(self) -> Listener:
        return Listener(self.note, self.progress)

    def raw(self, text: str) -> None:
        """Print text to stdout unchanged."""
        tell(text, sys.stdout)

    def answer(self, value: object, show: Callable[[], None]) -> None:
        """Print a command's result: ``value`` as one JSON document (see `document`) under ``--json``, else with ``show``."""
        if self.console.quiet:
            return
        if self.json:
            self.raw(document(value).decode())
        else:
            show()

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        drawn = Table(show_edge=False, pad_edge=False)
        for i, title in enumerate(head):
            drawn.add_column(escape(title), justify="right" if i else "left", overflow="fold")  # cuts nothing
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        self.console.print(drawn)

    def comparison(self, runs: Mapping[str, robustsnn.reporting.RunReport]) -> None:
        """Print the ranked networks of several runs, and their recipe differences."""
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
        """Print a report."""
        from robustsnn.evaluation.measures.audit import audited
        from robustsnn.reporting import cautions, failures, sections, summary, table, verdict, warned

        self.say(f"\n{verdict(value)}\n".replace("\N{NO-BREAK SPACE}", " "))
        self.table(*table(value, bounds=False))
        told = sections(value).values()
        for section in told if self.verbose else ():
            self.say(f"\n{section.title}\n")
            self.table(*section.table)
        self.say("\n" + summary(value, bounds=False))
        if told and not self.verbose:
            self.note(f"Further tables, with --verbose and in the report: {', '.join(section.title for section in told)}.")
        for line in cautions(value):
            self.say(f"caution: {line}")
        for line in filter(None, (audited(value.rows), *failures(value), *warned(value))):
            self.say(f"audit: {line}")
