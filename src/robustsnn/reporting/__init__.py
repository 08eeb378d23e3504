"""Reports as JSON, Markdown, and self-contained HTML pages of one or several runs."""

from robustsnn.evaluation import Row, Section
from robustsnn.reporting.comparison import board
from robustsnn.reporting.html_page import page, verdict
from robustsnn.reporting.markdown_page import markdown
from robustsnn.reporting.report import RunReport, different, read_report, versions
from robustsnn.reporting.tables import cautions, failures, sections, summary, table, warned
from robustsnn.reporting.writing import write_pages, write_report

__all__ = [
    "Row",
    "RunReport",
    "Section",
    "board",
    "cautions",
    "different",
    "failures",
    "markdown",
    "page",
    "read_report",
    "sections",
    "summary",
    "table",
    "verdict",
    "versions",
    "warned",
    "write_pages",
    "write_report",
]
