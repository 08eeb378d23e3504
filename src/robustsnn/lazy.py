"""What is imported only when it is used, so that commands which compute nothing need not wait for torch."""

from importlib import import_module
from typing import Any


def later(module: str, name: str) -> Any:
    """A function, or a class, that is imported when it is first called.

    >>> later("fractions", "Fraction")("1/3")
    Fraction(1, 3)
    """

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(module), name)(*args, **options)

    return call
