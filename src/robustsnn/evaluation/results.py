"""What ensembles left of a network, and what checks say of it, as values that become JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from robustsnn.evaluation.intervals import Interval, wilson
from robustsnn.names import Rule, find
from robustsnn.threats import THREATS, USUAL, kind
from robustsnn.types import Threat

Kind = Annotated[str, AfterValidator(lambda name: find("threat", {name: name for name in THREATS}, name))]
"""A kind of threat, by name."""

ROBUST = -1
MISCLASSIFIED = -2
"""Values of ``broken_by`` beside the members' indices: survived everything; wrong on the clean image already."""


class Attacked(BaseModel, frozen=True):
    """What happened under an attack.

    Arguments:
        attack: the ensemble's name.
        eps: radius of the threat, in units of its kind.
        threat: its kind, by name.
    """

    attack: str
    eps: Annotated[float, Field(ge=0)]
    threat: Kind = USUAL

    @property
    def within(self) -> Threat:
        """The threat as a value."""
        return kind(self.threat)(self.eps)


class Result(Attacked, frozen=True):
    """One ensemble under one threat.

    Arguments:
        rule: which iterates were judged.
        members: the members in the order in which they ran.
        broken_by: per image the member that broke it first, -1 robust, -2 misclassified without any attack.
        white_box: which members follow gradients of the attacked network.
        gradients, queries: forward passes with and without a gradient, counted in images, by member.
        excess: how far beyond ball or box each member's images were before they were clipped; 1 for a pixel that is no number.
        seconds: time on the clock that each member took.

    The last five are empty where nobody counted.
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
            raise ValueError("white_box, gradients, queries, excess and seconds need one entry per member, or none at all")
        if not all(MISCLASSIFIED <= b < len(self.members) for b in self.broken_by):
            raise ValueError("broken_by names a member that is not there")
        return self

    @property
    def attacked(self) -> int:
        """How many images are classified correctly without an attack."""
        return len(self.broken_by) - self.broken_by.count(MISCLASSIFIED)

    @property
    def survivors(self) -> int:
        """How many images survive every member."""
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
        """How many images each member broke, of those that the members before it left."""
        return tuple(self.broken_by.count(member) for member in range(len(self.members)))


class WorstCase(BaseModel, frozen=True):
    """What ensembles left of a network: a result per attack and radius."""

    results: Annotated[tuple[Result, ...], Field(min_length=1)]


Verdict = Literal["pass", "warn", "fail"]


class Check(BaseModel, frozen=True):
    """One check of the audit: its figure, what that means, and the verdict."""

    name: str
    figure: float
    verdict: Verdict
    meaning: str


class Audited(BaseModel, frozen=True):
    """What the audit checked."""

    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
