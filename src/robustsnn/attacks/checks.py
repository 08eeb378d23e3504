"""What attacks refuse."""

from __future__ import annotations

from typing import Any

from robustsnn.threats import THREATS
from robustsnn.types import Attack, Threat


def at_least_one(attack: object, **counts: int) -> None:
    """Refuse an attack whose counts, named in the singular, are not whole numbers of at least 1.

    Raises:
        ValueError: naming the attack and the count.
    """
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{type(attack).__name__} needs at least one {name}, a whole number, not {count!r}")


def accepted(attack: Attack | type[Attack], threat: Threat) -> Any:
    """The threat, which is of a kind that the attack can follow.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(threat, attack.follows):
        name = attack.__name__ if isinstance(attack, type) else type(attack).__name__
        kinds = [name for name, kind in THREATS.items() if isinstance(kind, type) and issubclass(kind, attack.follows)]
        raise ValueError(
            f"{name} cannot follow the threat {threat!r}: give it one of {', '.join(kinds)}, such as {kinds[0]}(0.1)"
        )
    return threat
