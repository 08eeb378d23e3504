from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.attacks import ATTACKS, GOALS, STARTS
from robustsnn.names import build, find, nearest, number, one_line, spelled
from robustsnn.spiking import PATHS, SURROGATES
from robustsnn.training import AFTER_STEP, OBJECTIVES, STOPS
from robustsnn.training.regularizers import REGULARIZERS


@dataclass(frozen=True)
class Point:
    x: float = 0.0
    y: float = 0.0

    def __post_init__(self):
        if isinstance(self.x, float) and self.x > 100:
            raise ValueError("x is at most 100")


TABLE = {"Point": Point, "pair": lambda first, second=None: (first, second)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Point", Point()),
        (" Point( ) ", Point()),
        ("Point(1, y=2)", Point(1, 2)),
        ("Point(-1.5)", Point(-1.5)),
        ("Point(8/255)", Point(8 / 255)),
        ("Point(2*3)", Point(6)),
        ("pair([1, 'a'], (None, True))", ((1, "a"), (None, True))),
        ("pair(Point(1), Point)", (Point(1), Point())),
    ],
)
def test_text_builds_the_value_it_spells(text, value):
    assert build("shape", TABLE, text) == value


def test_a_value_is_built_from_its_own_repr():
    point = Point(0.25, -3.0)
    assert build("shape", TABLE, repr(point).replace(f"{Point.__module__}.", "")) == point


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Pint(1)", "unknown shape 'Pint': did you mean 'Point'"),
        ("Point(x=red)", "x of shape Point is an unknown name red: write x='red' if it is a text; known: Point, pair"),
        ("Point(z=1)", "no field 'z'.*known: x, y"),
        ("Point(1, 2, 3)", "shape Point: "),
        ("Point(101.0)", "x is at most 100"),
        ("Point(", "cannot be read"),
        ("", "cannot be read"),
        ("Point; Point", "cannot be read"),
        ("Point(1 + 1)", "cannot be read"),
        ("Point(1/0)", "cannot be read"),
        ("Point(*[1])", "cannot be read"),
        ("Point.x", "cannot be read"),
        ("Point(1)(2)", "cannot be read"),
        ("__import__('os')", "unknown shape"),
        ("pair(open('f'))", "unknown shape 'open'"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_says_why(text, line):
    with pytest.raises(ValueError, match=line):
        build("shape", TABLE, text)


@pytest.mark.parametrize("text", ["3", "'Point'", "None", "[Point]", "1/2"])
def test_text_that_is_no_name_and_no_call_is_refused(text):
    with pytest.raises(ValueError, match="shape"):
        build("shape", TABLE, text)


@pytest.mark.parametrize("text", ["Point(**{'x': 1})", "Point(x=1, x=2)", "Point(1, x=2)"])
def test_no_argument_is_dropped_silently(text):
    with pytest.raises(ValueError, match="shape"):
        build("shape", TABLE, text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1000,
        "-" * 10_000 + "1",
        "1" + "+1" * 20_000,
        "Point" + ".x" * 20_000,
        f"Point({'9' * 400}/3)",
        f"Point({'9' * 400}*1.5)",
    ],
    ids=lambda text: f"{text[:8]}...",
)
def test_text_too_deep_or_too_large_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        build("shape", TABLE, text)


PIECES = [
    "Point",
    "pair",
    "x",
    "(",
    ")",
    ",",
    "=",
    "[",
    "]",
    "*",
    "**",
    "-",
    "/",
    ".",
    "'",
    "1",
    "0",
    "2.5",
    "9" * 400,
    " ",
    "\0",
]


@given(st.text(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_arbitrary_text_raises_nothing_but_value_errors(text):
    for read in (lambda: build("shape", TABLE, text), lambda: number(text), lambda: find("shape", TABLE, text)):
        with suppress(ValueError):
            read()


@given(st.floats(allow_nan=False), st.integers(-1000, 1000), st.integers(1, 1000))
def test_numbers_are_decimal_or_fractions(value, over, under):
    assert number(value) == number(repr(value)) == value
    assert number(f"{over}/{under}") == over / under


@pytest.mark.parametrize(
    "text", ["", "a", "1/", "/2", "1/0", "1/2/3", "8 255", None, 10**400], ids=lambda text: repr(text)[:8]
)
def test_what_is_no_number_is_refused(text, unchecked):
    with pytest.raises(ValueError, match="not a number"):
        number(text)


def test_find_returns_the_entry_or_names_the_nearest():
    assert find("shape", TABLE, "Point") is Point
    with pytest.raises(ValueError, match=r"unknown shape 'point': did you mean 'Point'\? known: Point, pair"):
        find("shape", TABLE, "point")


@pytest.mark.parametrize(("name", "hint"), [("TRIANGEL", "did you mean 'Triangle'? "), ("zzz", "")])
def test_nearest_hints_only_at_what_is_near(name, hint):
    assert nearest(name, ["Triangle", "Exponential"]) == f"{hint}known: Exponential, Triangle"


TABLES = [
    {**ATTACKS, **GOALS, **STARTS},
    {**OBJECTIVES, **REGULARIZERS, **PATHS, **SURROGATES},
    AFTER_STEP,
    STOPS,
]
NESTED = {"Regularized"}
"""It has no defaults."""


@pytest.mark.parametrize(("table", "name"), [(t, name) for t in TABLES for name in t if name not in NESTED])
def test_what_is_written_is_read_as_the_defaults(table, name):
    assert build("value", table, spelled(table[name])) == table[name]()


def test_fields_are_written_with_their_defaults_and_fractions_of_grey_levels():
    assert spelled(ATTACKS["PGD"]).startswith("PGD(steps=20, restarts=1, goal=CrossEntropy(), start=Uniform(), ")
    assert spelled(OBJECTIVES["Regularized"]) == "Regularized(objective, regularizer, weight)"
    assert spelled(Point) == "Point(x=0.0, y=0.0)"


def test_what_an_error_says_is_one_short_line():
    assert one_line(ValueError("one\n  two\tthree")) == "one two three"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line("x" * 1000)) == 200
    assert len(one_line("x" * 1000, None)) == 1000
