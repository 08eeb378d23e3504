"""Results of ensembles and of the audit, convertible to and from JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from robustsnn.evaluation.intervals import Interval, wilson
from robustsnn.names import Rule
from robustsnn.threats import USUAL, kind, kind_of
from robustsnn.types import Threat

Kind = Annotated[str, AfterValidator(lambda name: kind_of(kind(name)()))]
"""A kind of threat, by name."""

ROBUST = -1
MISCLASSIFIED = -2
"""Values of ``broken_by`` besides member indices: survived every member; misclassified without an attack."""


class Attacked(BaseModel, frozen=True):
    """A result under an attack.

    Arguments:
        attack: the ensemble's name.
        eps: radius of the threat, in units of its kind.
        threat: kind of the threat, by name.
    """

    attack: str
    eps: Annotated[float, Field(ge=0)]
    threat: Kind = USUAL

    @property
    def within(self) -> Threat:
        """The threat as a value."""
        return kind(self.threat)(self.eps)


class Result(Attacked, frozen=True):
    """The result of one ensemble under one threat.

    Arguments:
        rule: which iterates were judged.
        members: the members, in the order in which they ran.
        broken_by: per image the member that broke it first, -1 if robust, -2 if misclassified without an attack.
        white_box: which members use gradients of the attacked network.
        gradients, queries: forward passes with and without a gradient, counted in images, per member.
        excess: how far each member's images were outside ball or box before clipping; 1 for a non-finite pixel.
        seconds: wall-clock time per member.

    The last five are empty if they were not recorded.
    """

    rule: Rule
    members: tuple[str, ...]
    broken_by: tuple[int, ...]
    white_box: tuple[bool, ...] = ()
    gradients: tuple[int, ...] = ()
    queries: tuple[int, ...] = ()
    excess: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Result:
        counted = (self.white_box, self.gradients, self.queries, self.excess, self.seconds)
        if any(len(each) not in (0, len(self.members)) for each in counted):
            raise ValueError("white_box, gradients, queries, excess and seconds need one entry per member, or no entries")
        if not all(MISCLASSIFIED <= b < len(self.members) for b in self.broken_by):
            raise ValueError("broken_by contains the index of a missing member")
        return self

    @property
    def attacked(self) -> int:
        """Number of images that are classified correctly without an attack."""
        return len(self.broken_by) - self.broken_by.count(MISCLASSIFIED)

    @property
    def survivors(self) -> int:
        """Number of images that survive every member."""
        return self.broken_by.count(ROBUST)

    @property
    def clean(self) -> Interval:
        """Accuracy without an attack."""
        return wilson(self.attacked, len(self.broken_by))

    @property
    def robust(self) -> Interval:
        """Worst-case accuracy: the share of images that survive every member."""
        return wilson(self.survivors, len(self.broken_by))

    @property
    def broken(self) -> tuple[int, ...]:
        """Number of images that each member broke, among those that the previous members left."""
        return tuple(self.broken_by.count(member) for member in range(len(self.members)))


class WorstCase(BaseModel, frozen=True):
    """Worst-case results, one per ensemble and radius."""

    results: Annotated[tuple[Result, ...], Field(min_length=1)]


def radius(threat: Threat, equals: str = " = ") -> str:
    """Return a threat's radius or budget as reports write it.

    >>> radius(kind("Linf")(8 / 255)), radius(kind("Flips")(0.02))
    ('ε = 8/255', '2 % flips')
    """
    return f"ε{equals}{threat.spelled}" if threat.axis[1].startswith("ε") else threat.spelled


def titled(attack: str, threat: Threat) -> str:
    """Return the heading of a column with an attack's results.

    >>> titled("FGSM", kind("Linf")(8 / 255)), titled("SDA", kind("Flips")(0.02))
    ('FGSM ε=8/255', 'SDA, 2 % flips')
    """
    spelled = radius(threat, "=")
    return f"{attack}, {spelled}" if spelled == threat.spelled else f"{attack} {spelled}"


Verdict = Literal["pass", "warn", "fail"]


class Check(BaseModel, frozen=True):
    """One check of the audit: its figure, the meaning of that figure, and the verdict."""

    name: str
    figure: float
    verdict: Verdict
    meaning: str


class Audited(BaseModel, frozen=True):
    """The checks of an audit."""

    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
