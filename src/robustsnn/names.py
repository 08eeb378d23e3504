"""Named things: looked up with the nearest known name in the error, and written as the constructor call they are."""

import ast
import difflib
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ValidationError

BatchNorm = Literal["reestimate", "reset", "keep"]
"""What conversion does to running statistics: found anew, (0, 1) as published, or kept."""
Granularity = Literal["layer", "channel"]
"""Whether a layer has one threshold, or each of its channels."""
Rule = Literal["any", "last"]
"""Which iterates of an attack are judged: every one (stronger and cheaper), or the last one (as published)."""
Precision = Literal["float32", "bfloat16"]
"""In what convolutions and linears compute, in training and for attacks to follow; judging is done in float32."""

Named = TypeVar("Named")
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {ast.Div: operator.truediv, ast.Mult: operator.mul}


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an error line: the known name most like ``name``, then all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    meant = next((k for k in known if [k.lower()] == close), None)
    return (f"did you mean {meant!r}? " if meant else "") + f"known: {', '.join(known)}"


def one_line(said: object, most: int | None = 200) -> str:
    """An exception, or any text, on one line of at most ``most`` characters; its type, where it says nothing.

    >>> one_line(ValueError("one\\n  two"))
    'one two'
    """
    return " ".join(str(said).split())[:most] or type(said).__name__


def is_toml(name: str) -> bool:
    """Whether a text is the path of a file of recipes or protocols, and no name."""
    return name.lower().endswith(".toml")


def find(kind: str, table: Mapping[str, Named], name: str) -> Named:
    """The entry ``name`` of a table of named things.

    Raises:
        ValueError: no such name; the line gives the nearest known one.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}: {nearest(name, table)}")
    return table[name]


def named(*kinds: Named) -> dict[str, Named]:
    """A table of classes, each under its own name."""
    return {getattr(kind, "__name__", ""): kind for kind in kinds}


def number(text: str | float) -> float:
    """A number that may be written as a fraction.

    >>> number("8/255") == 8 / 255
    True
    """
    try:
        if not isinstance(text, str):
            return float(text)
        over, fraction, under = text.partition("/")
        return float(over) / float(under) if fraction else float(over)
    except (ValueError, TypeError, ArithmeticError):
        raise ValueError(f"{text!r} is no number: write 0.1 or a fraction such as 8/255") from None


Number = Annotated[float, BeforeValidator(number)]
"""A number that may be written as a fraction, such as 8/255."""


def first_error(error: ValidationError) -> str:
    """The first complaint of pydantic, as ``key: what``."""
    first = error.errors(include_url=False, include_context=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {said}" if key else said


def build(kind: str, table: Mapping[str, Callable[..., Any]], text: str) -> Any:
    """The value that ``text`` spells as a constructor call: names from ``table``, arguments literal or nested calls.

    Nothing is evaluated: only calls of the table's names, numbers, strings, lists and fractions are read.

    >>> build("number", {"int": int, "max": max}, "max(int('3'), 8/2)")
    4.0

    Raises:
        ValueError: an unknown name or field, a value out of range, or text that is no such call.
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
    """A value as `build` or `number` reads it; of a kind of frozen value, the call with every default, where fields that have
    to be given stand alone.

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
                    raise ValueError(f"{k.arg} of {kind} {name} is the unknown {k.value.id}: {meant}")
            named = {k.arg: _value(kind, table, k.value) for k in keywords if k.arg}
            if len(named) < len(keywords):
                raise ValueError(f"{kind} {name} is given an argument twice, or by **: name each of them once")
            return _call(kind, name, made, [_value(kind, table, a) for a in args], named)
    raise ValueError(f"{kind} {ast.unparse(node)[:80]!r} cannot be read: only names, numbers and lists may stand there")


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
