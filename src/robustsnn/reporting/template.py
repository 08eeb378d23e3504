"""The one way in which pages are made: templates beside this module, whatever they are given escaped."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """A page from the template of that name; an undefined value is an error."""
    folder = resources.files(__package__)
    loader = FunctionLoader(lambda name: file.read_text("utf-8") if (file := folder.joinpath(name)).is_file() else None)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(values)
