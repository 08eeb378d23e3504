"""Value ranges of dataclass fields, declared in the field's type."""

from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """A range of finite numbers in mathematical notation: ``(0, 1]`` contains 1 but not 0.

    >>> 0 in Range("(0, 1]"), 1 in Range("(0, 1]"), float("inf") in Range("[0, inf)")
    (False, True, False)
    """

    text: str

    def __contains__(self, value: Any) -> bool:
        low, high = (float(end) for end in self.text[1:-1].split(","))
        return low < value < high or (value == low and self.text[0] == "[") or (value == high and self.text[-1] == "]")

    def __str__(self) -> str:
        low, _, high = self.text[1:-1].partition(", ")
        bound = f"of at least {low}" if self.text[0] == "[" else f"greater than {low}"
        return bound if high == "inf" else f"in {self.text}"


Whole = Annotated[int, Range("[0, inf)")]
Count = Annotated[int, Range("[1, inf)")]
Share = Annotated[float, Range("[0, 1]")]
Positive = Annotated[float, Range("(0, inf)")]
NotNegative = Annotated[float, Range("[0, inf)")]
BelowOne = Annotated[float, Range("[0, 1)")]


class Ranged:
    """A dataclass that checks the ranges and literals that its field types declare.

    Raises:
        ValueError: a value is not allowed; the message names the field, its class and what is allowed.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint in _limits(kind).items():
            value, words = getattr(self, name), get_args(hint)
            if get_origin(hint) is Literal and value not in words:
                raise ValueError(f"{name} of {kind.__name__} must be one of {words}, not {value!r}")
            for mark in getattr(hint, "__metadata__", ()):
                numbers, called = (Integral, "a whole number") if words[0] is int else (Real, "a finite number")
                if isinstance(mark, Range) and not (isinstance(value, numbers) and value in mark):
                    raise ValueError(f"{name} of {kind.__name__} must be {called} {mark}, not {value!r}")


@cache
def _limits(kind: Any) -> dict[str, Any]:
    """Return the field types of a class that restrict values."""
    hints = get_type_hints(kind, include_extras=True).items()
    return {name: hint for name, hint in hints if get_origin(hint) is Literal or hasattr(hint, "__metadata__")}
