"""What a measure is, and what it says in a report: tables of words, and figures that whoever draws reports draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel

from robustsnn.evaluation.intervals import Interval

if TYPE_CHECKING:
    import robustsnn.evaluation.evaluated
    import robustsnn.evaluation.report

Found = TypeVar("Found", bound=BaseModel)

Table = tuple[list[str], list[list[str]]]
"""Head and rows, as many cells each."""


@dataclass(frozen=True)
class Dots:
    """A figure: one value per layer of every network.

    Arguments:
        what, unit: of the values; of: what a layer is.
        values: by layer, of every network of the report in order; empty where a network has none.
    """

    what: str
    unit: str
    of: str
    values: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Curves:
    """A figure: a share of images that changes along an axis.

    Arguments:
        axis: what it is.
        values: along it, of every network of the report in order; empty where a network has none.
        label, caption: what it shows, for who cannot see it and below it.
        marks: a place on the axis for some networks, drawn as a dotted line.
    """

    axis: str
    values: tuple[Mapping[float, Interval], ...]
    label: str
    caption: str
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Arguments:
        key: what programs and addresses in a page call it.
        title, about: its heading, and the words that explain its table.
        table: in Markdown, terminal and page; what has no rows is left out.
        notes: what its lines mean, by their names.
        figures, detail: drawings, and a further table with its explanation: on the page alone.
    """

    key: str
    title: str
    about: str
    table: Table
    notes: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Dots | Curves, ...] = ()
    detail: tuple[str, Table] | None = None


@dataclass(frozen=True)
class Measure(Generic[Found]):
    """One thing that is measured. Its entry of `MEASURES` has evaluations measure it and reports keep it.

    Arguments:
        name: the key of what it finds, in that dict and in a report. A page shows it by ``measures/<name>.html.jinja`` of
            `robustsnn.reporting` if there is one, else by the template of all sections.
        kind: the type of what it finds.
        measure: finds it; None where there is nothing to find, such as spikes of an ANN.
        sections: what a report says of it, given all of its networks.
    """

    name: str
    kind: type[Found]
    measure: Callable[[robustsnn.evaluation.evaluated.Evaluated], Found | None]
    sections: Callable[[Sequence[robustsnn.evaluation.report.Row]], Sequence[Section]] = lambda rows: ()


def side_by_side(head: str, columns: Sequence[tuple[str, Mapping[str, str]]]) -> Table:
    """A table with a column per network: a line for every name that any of them has a cell for, in order of appearance."""
    names = dict.fromkeys(name for _, cells in columns for name in cells)
    return [head, *(network for network, _ in columns)], [
        [name, *(cells.get(name, "-") for _, cells in columns)] for name in names
    ]
