"""What the generated pages have in common: tables, templates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ENVIRONMENT = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True)
"""The templates of this folder."""


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table, its head first."""
    head, *rows = lines
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def render(template: str, **values: object) -> str:
    """The text that a template makes of values."""
    return ENVIRONMENT.get_template(template).render(**values)


def marked(text: str, mark: str, said: str) -> str:
    """A text with something else between two of its marks.

    Raises:
        ValueError: a text without these marks.
    """
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    if (text.count(begin), text.count(end)) != (1, 1):
        raise ValueError(f"README.md must have one pair of marks {begin.strip()!r} and {end!r}")
    before, _, after = text.partition(begin)
    return f"{before}{begin}{said}\n{end}{after.partition(end)[2]}"
