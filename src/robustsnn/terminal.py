"""What a person at the command line sees: lines, a progress bar with the time left, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from robustsnn.recipes import Listener
from robustsnn.reporting import RunReport, audits, costs, energies, failures, layers, summary, table
from robustsnn.reporting.board import groups, ranks, winner


class AuditFailed(Exception):
    """Somebody who asked for it is told by the exit status that a check of the audit failed."""


class Terminal:
    """Prints lines, and on a terminal a progress bar with the time left."""

    def __init__(self, speaks: bool = True) -> None:
        self.console = Console(soft_wrap=True, highlight=False, quiet=not speaks)
        if not self.console.is_terminal:
            self.console.width = 1000  # a file has room for whole tables
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not (speaks and self.console.is_terminal),
        )
        self.task = self.bar.add_task("", total=1.0, visible=False)
        self.what = ""

    def progress(self, what: str, share: float) -> None:
        if what != self.what:
            self.what = what
            self.bar.reset(self.task, description=escape(what), visible=True)
        self.bar.update(self.task, completed=share)

    def say(self, line: str) -> None:
        self.console.print(escape(line))

    def listener(self) -> Listener:
        return Listener(self.say, self.progress)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        drawn = Table(show_edge=False, pad_edge=False)
        for i, title in enumerate(head):
            drawn.add_column(escape(title), justify="right" if i else "left")
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        self.console.print(drawn)

    def comparison(self, runs: Mapping[str, RunReport]) -> None:
        """Show the networks of several runs, ranked."""
        for group in groups(runs):
            self.say(f"\n{group.title}\n{winner(group)}\n")
            self.table(*ranks(group))
        self.say("")

    def report(self, value: RunReport, strict: bool) -> None:
        """Show a report.

        Raises:
            AuditFailed: ``strict``, and a check of the audit failed.
            ValueError: ``strict``, and there was no audit.
        """
        self.say("")
        self.table(*table(value, bounds=False))
        if any(row.report.thresholds for row in value.rows):
            self.say("")
            self.table(*layers(value))
        if energies(value)[1]:
            self.say("")
            self.table(*energies(value))
        if any(row.report.audit for row in value.rows):
            self.say("")
            self.table(*audits(value))
        if costs(value)[1]:
            self.say("")
            self.table(*costs(value))
        self.say("\n" + summary(value, bounds=False))
        for line in failures(value):
            self.say(f"audit: {line}")
        if strict and not all(row.report.audit for row in value.rows):
            raise ValueError("--strict needs an audit, which was off: give a number of images to audit_images")
        if strict and failures(value):
            raise AuditFailed
