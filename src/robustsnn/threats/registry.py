"""Threats by name, and as recipes and flags spell them: ``L2(0.5)``."""

from __future__ import annotations

from collections.abc import Callable

from robustsnn.names import build, find
from robustsnn.threats.balls import L2, Linf
from robustsnn.types import Threat

THREATS: dict[str, Callable[..., Threat]] = {"Linf": Linf, "L2": L2}
"""The kinds of threat, each called with its radius."""

USUAL = "Linf"
"""The kind that is meant where none is named."""


def kind(name: str | None = None) -> Callable[..., Threat]:
    """The kind of threat of that name; the `USUAL` one if None.

    Raises:
        ValueError: no such kind.
    """
    return find("threat", THREATS, name or USUAL)


def threat(text: str) -> Threat:
    """The threat that a text spells.

    Raises:
        ValueError: text that cannot be read, an unknown kind, or a radius that it cannot have.

    >>> threat("L2(0.5)"), threat("Linf(8/255)").spelled
    (L2(eps=0.5), '8/255')
    """
    return build("threat", THREATS, text)  # type: ignore[no-any-return]
