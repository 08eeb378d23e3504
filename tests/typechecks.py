"""beartype as the tests use it: an int passes for a float, as type checkers have it."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception

CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` checked at every call; one that speaks of a protocol which is not runtime-checkable goes unchecked."""
    try:
        return beartype(function, conf=CONF)
    except BeartypeDecorHintPep3119Exception:
        return function
