"""``list`` and ``info``."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from robustsnn.cli.arguments import Header, Info, List
from robustsnn.cli.catalogue import KINDS
from robustsnn.cli.terminal import Terminal
from robustsnn.names import find
from robustsnn.recipes import plan
from robustsnn.recipes.recipe import label

HIDDEN = ("blueprint", "history", "report")
"""Parts of a checkpoint's header that only programs read."""


def show(chosen: List, terminal: Terminal) -> None:
    """Run ``list KIND``."""
    entries = find("kind", KINDS, chosen.kind)()
    lines = [f"{entry.written}  # {entry.about}" if entry.about else entry.written for entry in entries.values()]
    terminal.answer({name: asdict(entry) for name, entry in entries.items()}, lambda: terminal.say("\n".join(lines)))


def info(chosen: Info | Header, terminal: Terminal) -> None:
    """Run ``info``: show the content of a checkpoint, or what ``run`` would do with a recipe."""
    if isinstance(chosen, Header):
        return _checkpoint(chosen.given, terminal)
    lines = plan(chosen.recipe, label(chosen.given, chosen.recipe))
    said = "\n".join([*lines, "", chosen.recipe.toml().decode()])
    return terminal.answer({"plan": lines, "recipe": chosen.recipe.table()}, lambda: terminal.say(said))


def _checkpoint(path: str, terminal: Terminal) -> None:
    from robustsnn import checkpoint
    from robustsnn.reporting import read_report

    header, parameters = checkpoint.read_header(path), checkpoint.count(path)
    parts = {"recipe": header.recipe, "spiking": header.spiking, "metrics": header.metrics}
    lines = [f"{name}: {value}" for name, value in _flat(parts)]

    def tell() -> None:
        terminal.say("\n".join([f"{path}: {header.kind}, {parameters:,} parameters", *lines]))
        if "report" in header.metrics:
            terminal.report(read_report(json.dumps(header.metrics["report"]).encode(), path))

    terminal.answer({"file": path, "kind": header.kind, "parameters": parameters, **parts}, tell)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of nested tables, joined by dots, and their values, except empty and `HIDDEN` ones."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.") if key not in HIDDEN else ()
        elif key not in HIDDEN and value not in ("", None, []):
            yield f"{prefix}{key}", value
