"""Report files: JSON, Markdown and HTML."""

from __future__ import annotations

from pathlib import Path

from robustsnn.files import write_atomic
from robustsnn.reporting.html_page import page
from robustsnn.reporting.markdown_page import markdown
from robustsnn.reporting.report import RunReport


def write_report(value: RunReport, out: Path) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` into a folder, creating it if necessary.

    Raises:
        ValueError: the folder cannot be written.
    """
    write_atomic(out / "report.json", value.to_json())
    write_pages(value, out)


def write_pages(value: RunReport, out: Path) -> None:
    """Write ``report.md`` and ``report.html`` only."""
    write_atomic(out / "report.md", markdown(value).encode())
    write_atomic(out / "report.html", page(value).encode())
