"""What is imported only when it is used, so that commands which compute nothing need not wait for torch."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def later(module: str, name: str) -> Any:
    """A function, or a class, that is imported when it is first called.

    >>> later("fractions", "Fraction")("1/3")
    Fraction(1, 3)
    """

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(module), name)(*args, **options)

    return call


def attributes(package: str, homes: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """A package's ``__getattr__``: what it offers, and its modules, are imported when they are asked for (PEP 562).

    Arguments:
        package: its name.
        homes: modules of the package, each with the names that it gives.
    """
    places = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        module = f"{package}.{places.get(name, name)}"
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        return getattr(found, name) if name in places else found

    return get


def declared(package: str, file: str) -> dict[str, list[str]]:
    """The names that a package imports from its own modules for type checkers alone, by module, as `attributes` takes them.

    Arguments:
        file: of its ``__init__``, which lists them below ``if TYPE_CHECKING``.
    """
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}."):
            found.setdefault(node.module.removeprefix(f"{package}."), []).extend(name.name for name in node.names)
    return found
