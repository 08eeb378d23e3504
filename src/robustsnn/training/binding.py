"""Objectives that need other networks, such as a teacher, which a run provides later."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import nn

from robustsnn.types import Objective


def bound(objective: Objective, networks: Callable[[str], nn.Module]) -> Objective:
    """Return an objective with the networks that its parts name.

    Arguments:
        objective: not changed; returned as it is if no part names a network.
        networks: maps a name, such as ``"ann"``, to its network.
    """
    value: Any = objective
    if hasattr(value, "bind"):
        return value.bind(networks)  # type: ignore[no-any-return]
    changed: dict[str, Any] = {}
    for field in fields(value):
        part: Any = getattr(value, field.name)
        if is_dataclass(part) and (other := bound(part, networks)) is not part:  # type: ignore[arg-type]
            changed[field.name] = other
    return replace(value, **changed) if changed else objective


def networks_of(value: Any) -> Iterator[nn.Module]:
    """Return the networks that a value and its parts hold."""
    if isinstance(value, nn.Module):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from networks_of(getattr(value, field.name))
