"""Report files: JSON, Markdown and HTML."""

from __future__ import annotations

from pathlib import Path

from robustsnn.files import write_atomic
from robustsnn.reporting.html_page import page
from robustsnn.reporting.markdown_page import markdown
from robustsnn.reporting.report import RunReport


def a_folder(out: Path) -> Path:
    """Return the path of a folder for reports. Raises ValueError if it is the name of a file."""
    if out.suffix in (".html", ".htm", ".md", ".json") and not out.is_dir():
        raise ValueError(f"{out} is a file name, but a report is three files: give a folder, as in {out.with_suffix('')}")
    return out


def write_report(value: RunReport, out: Path) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` into a folder, creating it if necessary.

    Raises:
        ValueError: ``out`` is the name of a file, or the folder cannot be written.
    """
    a_folder(out)
    write_atomic(out / "report.json", value.to_json())
    write_pages(value, out)


def write_pages(value: RunReport, out: Path) -> None:
    """Write ``report.md`` and ``report.html`` only."""
    write_atomic(out / "report.md", markdown(value).encode())
    write_atomic(out / "report.html", page(value).encode())
