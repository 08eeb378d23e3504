"""A field's type says what numbers it holds, and everything else is refused in one line."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest

from robustsnn.ranges import BelowOne, Count, Positive, Range, Ranged

pytestmark = pytest.mark.usefixtures("unchecked")


@dataclass(frozen=True)
class Value(Ranged):
    count: Count = 1
    scale: Positive = 1.0
    decay: BelowOne = 0.0
    share: Annotated[float, Range("(0, 1]")] = 1.0
    kind: Literal["all", "some"] = "all"
    free: float = -1.0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"count": np.int64(3)},
        {"scale": np.float32(0.5)},
        {"scale": 2},
        {"decay": 0},
        {"share": 1},
        {"kind": "some"},
        {"free": -9},
    ],
    ids=str,
)
def test_what_is_inside_is_taken_as_it_is(fields):
    made = Value(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"count": 0}, "count of Value must be a whole number of at least 1, not 0"),
        ({"count": 1.5}, "count of Value must be a whole number of at least 1, not 1.5"),
        ({"scale": 0}, "scale of Value must be a finite number greater than 0, not 0"),
        ({"scale": math.inf}, "scale of Value must be a finite number greater than 0, not inf"),
        ({"scale": math.nan}, "scale of Value must be a finite number greater than 0, not nan"),
        ({"scale": "1"}, "scale of Value must be a finite number greater than 0, not '1'"),
        ({"decay": 1}, "decay of Value must be a finite number in [0, 1), not 1"),
        ({"share": 0.0}, "share of Value must be a finite number in (0, 1], not 0.0"),
        ({"kind": "none"}, "kind of Value must be one of ('all', 'some'), not 'none'"),
    ],
    ids=str,
)
def test_what_is_outside_is_refused_in_a_line(fields, line):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Value(**fields)
    assert str(caught.value) == line


def test_a_value_of_ones_own_inherits_the_ranges():
    class Mine(Value):
        pass

    with pytest.raises(ValueError, match="scale of Mine"):
        Mine(scale=-1)
