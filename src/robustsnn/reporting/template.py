"""Rendering of HTML pages from the templates in this folder, with all values escaped."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Render a page from a template; an undefined value is an error."""
    folder = resources.files(__package__)
    loader = FunctionLoader(lambda name: file.read_text("utf-8") if (file := folder.joinpath(name)).is_file() else None)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(values)
