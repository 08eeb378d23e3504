"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.reporting.report import RunReport
from robustsnn.reporting.tables import cautions, elsewhere, sections, summary, table


def markdown(report: RunReport) -> str:
    """Return a report as Markdown."""
    parts = [f"# {report.recipe.get('name', 'run')}"]
    parts += ["\n".join(f"- {' '.join(line.split())}" for line in report.plan)] if report.plan else []
    parts += [summary(report), *(f"**Caution:** {line}." for line in cautions(report))]
    parts += [_markdown(*table(report))] if report.rows else []
    for section in sections(report).values():
        parts += [f"## {section.title}", section.about, _markdown(*section.table)]
        parts += ["\n".join(f"- {name}: {note}" for name, note in section.notes.items())] if section.notes else []
    command = f"Command: `{report.command}`. " if report.command else ""
    parts += [f"{command}Versions: {', '.join(f'{what} {version}' for what, version in report.versions.items())}."]
    parts += [f"{line}." for line in elsewhere(report)]
    return "\n\n".join(parts) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |" for line in lines)
