"""Reports: JSON there and back, Markdown, and a self-contained HTML page."""

from robustsnn.reporting.page import page
from robustsnn.reporting.report import (
    Row,
    RunReport,
    audits,
    costs,
    failures,
    layers,
    markdown,
    read_report,
    summary,
    table,
    versions,
)

__all__ = [
    "Row",
    "RunReport",
    "audits",
    "costs",
    "failures",
    "layers",
    "markdown",
    "page",
    "read_report",
    "summary",
    "table",
    "versions",
]
