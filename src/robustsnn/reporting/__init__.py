"""Reports: JSON there and back, Markdown, and self-contained HTML pages of one run or of many."""

from robustsnn.reporting.board import board
from robustsnn.reporting.markdown import markdown
from robustsnn.reporting.page import page
from robustsnn.reporting.report import Row, RunReport, read_report, versions
from robustsnn.reporting.tables import audits, costs, energies, failures, layers, summary, table

__all__ = [
    "Row",
    "RunReport",
    "audits",
    "board",
    "costs",
    "energies",
    "failures",
    "layers",
    "markdown",
    "page",
    "read_report",
    "summary",
    "table",
    "versions",
]
