"""The interface of measures, and the tables and figures that they add to reports."""

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
"""Header and rows, with equal numbers of cells."""


@dataclass(frozen=True)
class Dots:
    """A figure with one value per layer of every network.

    Arguments:
        what, unit: name and unit of the values; of: description of a layer.
        values: values by layer, one mapping per network of the report in order; empty if a network has none.
    """

    what: str
    unit: str
    of: str
    values: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Curves:
    """A figure with one accuracy curve per network.

    Arguments:
        axis: label of the horizontal axis.
        values: accuracy by position on that axis, one mapping per network of the report in order; empty if it has none.
        label, caption: alternative text for screen readers, and the text below the figure.
        marks: positions on the axis to mark with dotted lines.
    """

    axis: str
    values: tuple[Mapping[float, Interval], ...]
    label: str
    caption: str
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Arguments:
        key: identifier, used in HTML ids.
        title, about: heading, and explanation of the table.
        table: shown in Markdown, terminal and HTML page; a section without rows is omitted.
        notes: meanings of the table's lines, by name.
        figures, detail: figures, and a second table with its explanation; on the HTML page only.
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
    """A measure. Once it is in `MEASURES`, evaluations compute it and reports contain it.

    Arguments:
        name: key in `MEASURES` and in reports. The HTML page uses ``measures/<name>.html.jinja`` of `robustsnn.reporting`, or
            the default template of sections if there is no such file.
        kind: type of the result.
        measure: computes the result; None if it does not apply, such as spikes of an ANN.
        sections: returns the sections of a report, given all of its networks.
    """

    name: str
    kind: type[Found]
    measure: Callable[[robustsnn.evaluation.evaluated.Evaluated], Found | None]
    sections: Callable[[Sequence[robustsnn.evaluation.report.Row]], Sequence[Section]] = lambda rows: ()


def side_by_side(head: str, columns: Sequence[tuple[str, Mapping[str, str]]]) -> Table:
    """Return a table with a column per network and a row per name, in order of appearance."""
    names = dict.fromkeys(name for _, cells in columns for name in cells)
    return [head, *(network for network, _ in columns)], [
        [name, *(cells.get(name, "-") for _, cells in columns)] for name in names
    ]
