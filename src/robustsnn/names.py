"""Named values: look them up with a hint at the nearest name, and parse them from constructor calls."""

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ValidationError

BatchNorm = Literal["reestimate", "reset", "keep"]
"""What conversion does to running statistics: estimate them again, reset them to (0, 1) as published, or keep them."""
Granularity = Literal["layer", "channel"]
"""One threshold per layer, or per channel."""
Rule = Literal["any", "last"]
"""Iterates of an attack that are judged: every one (stronger and cheaper), or only the last (as published)."""
Precision = Literal["float32", "bfloat16"]
"""Precision of convolutions and linear layers in training and attacks; images are always judged in float32."""

Named = TypeVar("Named")
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {ast.Div: operator.truediv, ast.Mult: operator.mul}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an error message: the known name closest to ``name``, then all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    meant = next((k for k in known if [k.lower()] == close), None)
    return (f"did you mean {meant!r}? " if meant else "") + f"known: {', '.join(known)}"


def one_line(said: object, most: int | None = 200) -> str:
    """Return an exception or text on one line of at most ``most`` characters, or its type if it is empty.

    >>> one_line(ValueError("one\\n  two"))
    'one two'
    """
    return " ".join(str(said).split())[:most] or type(said).__name__


def is_toml(name: str) -> bool:
    """Return whether a text is the path of a recipe or protocol file instead of a name."""
    return name.lower().endswith(".toml")


def find(kind: str, table: Mapping[str, Named], name: str) -> Named:
    """Return the entry ``name`` of a table. Raises ValueError, with the nearest known name, if there is none."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}: {nearest(name, table)}")
    return table[name]


def named(*kinds: Named) -> dict[str, Named]:
    """Return a table of classes by their names."""
    return {getattr(kind, "__name__", ""): kind for kind in kinds}


def number(text: str | float) -> float:
    """Return a number that may be written as a fraction.

    >>> number("8/255") == 8 / 255
    True
    """
    try:
        if not isinstance(text, str):
            return float(text)
        over, fraction, under = text.partition("/")
        return float(over) / float(under) if fraction else float(over)
    except (ValueError, TypeError, ArithmeticError):
        raise ValueError(f"{text!r} is not a number: write 0.1 or a fraction such as 8/255") from None


def amount(memory: int | str | None) -> int | None:
    """Return an amount of memory in bytes, given as such or as text; None and empty text stay without limit.

    >>> amount("8GiB") == 8 * 2**30
    True
    """
    if memory is None or memory == "":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])i?B", memory) if isinstance(memory, str) else None
    size = int(float(found[1]) * 1024 ** ("KMGT".index(found[2]) + 1)) if found else memory
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"memory must be an amount such as 8GiB or 500MiB, or a number of bytes, not {memory!r}")
    return size


Number = Annotated[float, BeforeValidator(number)]
"""A number that may be written as a fraction, such as 8/255."""


def first_error(error: ValidationError) -> str:
    """Return the first error of pydantic as ``key: message``."""
    first = error.errors(include_url=False, include_context=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {said}" if key else said


def build(kind: str, table: Mapping[str, Callable[..., Any]], text: str) -> Any:
    """Build a value from a constructor call in ``text``: names come from ``table``, arguments are literals or nested calls.

    Nothing is evaluated: only calls of the table's names, numbers, strings, lists and fractions are parsed.

    >>> build("number", {"int": int, "max": max}, "max(int('3'), 8/2)")
    4.0

    Raises:
        ValueError: a name or field is unknown, a value is out of range, or the text is not such a call.
    """
    unreadable = f"{kind} {text[:80]!r} cannot be read: write a name such as {next(iter(table))}(...)"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.Name | ast.Call):
            raise ValueError(unreadable)
        return _value(kind, table, tree)
    except (SyntaxError, RecursionError, MemoryError, ArithmeticError):
        raise ValueError(unreadable) from None


def spelled(value: Any) -> str:
    """Return a value as `build` or `number` parses it; for a dataclass type, the call with its defaults and required fields.

    >>> from robustsnn.attacks import FGSM
    >>> spelled(FGSM), spelled(8 / 255), spelled(0.1)
    ('FGSM(goal=CrossEntropy())', '8/255', '0.1')
    """
    if is_dataclass(value):
        kind = value if isinstance(value, type) else type(value)
        held = {field.name: getattr(value, field.name, MISSING) for field in fields(value) if field.init}
        parts = [name if part is MISSING else f"{name}={spelled(part)}" for name, part in held.items()]
        return f"{kind.__name__}({', '.join(parts)})"
    long = isinstance(value, float) and len(repr(value)) > 8
    return f"{round(value * 255)}/255" if long and math.isclose(value * 255, round(value * 255)) else repr(value)


def _value(kind: str, table: Mapping[str, Callable[..., Any]], node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return tuple(_value(kind, table, part) for part in parts)
        case ast.BinOp(left=ast.Constant(value=int() | float() as left), op=op, right=ast.Constant(value=right)) if (
            type(op) in _ARITHMETIC and isinstance(right, int | float) and right
        ):
            return _ARITHMETIC[type(op)](left, right)
        case ast.Name(id=name):
            return _call(kind, name, find(kind, table, name), [], {})
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            made = find(kind, table, name)
            for k in keywords:
                if isinstance(k.value, ast.Name) and k.value.id not in table:
                    meant = f"write {k.arg}={k.value.id!r} if it is a text; {nearest(k.value.id, table)}"
                    raise ValueError(f"{k.arg} of {kind} {name} is an unknown name {k.value.id}: {meant}")
            named = {k.arg: _value(kind, table, k.value) for k in keywords if k.arg}
            if len(named) < len(keywords):
                raise ValueError(f"{kind} {name} has an argument twice, or by **: name each argument once")
            return _call(kind, name, made, [_value(kind, table, a) for a in args], named)
    raise ValueError(f"{kind} {ast.unparse(node)[:80]!r} cannot be read: use only names, numbers and lists")


def _call(kind: str, name: str, made: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> Any:
    if is_dataclass(made):
        known = [field.name for field in fields(made) if field.init]
        for key in named:
            if key not in known:
                raise ValueError(f"{kind} {name} has no field {key!r}: {nearest(key, known)}")
    try:
        return made(*args, **named)
    except TypeError as error:
        raise ValueError(f"{kind} {name}: {error}") from None
