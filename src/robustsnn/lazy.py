"""Late imports, so that commands which compute nothing do not wait for torch."""

from importlib import import_module
from typing import Any


def later(module: str, name: str) -> Any:
    """Return a function or class that is imported when it is first called.

    >>> later("fractions", "Fraction")("1/3")
    Fraction(1, 3)
    """

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(module), name)(*args, **options)

    return call
