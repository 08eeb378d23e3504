"""What the keys of a recipe hold: numbers that may be fractions, and texts that something reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import tyro
from pydantic import AfterValidator, BeforeValidator

from robustsnn.names import number

Number = Annotated[
    float,
    BeforeValidator(number),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="NUMBER",
        instance_from_str=lambda args: number(args[0]),
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [f"{value:g}"],
    ),
]
"""A number that may be written as a fraction, such as 8/255."""


def read_by(read: Callable[[str], object], *, optional: bool = False) -> Any:
    """Of a key whose text ``read`` accepts; an empty one stands for nothing where the key is optional."""

    def check(text: str) -> str:
        if text or not optional:
            read(text)
        return text

    return AfterValidator(check)


def each_read_by(read: Callable[[str], object]) -> Any:
    """Of a key that holds several texts, each of which ``read`` accepts."""

    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            read(text)
        return texts

    return AfterValidator(check)
