"""What was measured, as values that become JSON: every accuracy follows from ``broken_by``."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, PositiveInt, model_validator

from robustsnn.evaluation.energy import Operations
from robustsnn.evaluation.intervals import Interval, wilson
from robustsnn.evaluation.protocols import PROTOCOLS, Audit
from robustsnn.names import Rule, find
from robustsnn.threats import THREATS, USUAL, kind
from robustsnn.types import Threat

Kind = Annotated[str, AfterValidator(lambda name: find("threat", {name: name for name in THREATS}, name))]
"""A kind of threat, by name."""

ROBUST = -1
MISCLASSIFIED = -2
"""Values of ``broken_by`` beside the members' indices: survived everything; wrong on the clean image already."""


class Result(BaseModel):
    """One ensemble under one threat.

    Arguments:
        attack: the ensemble's name.
        eps: radius of the threat, in units of its kind.
        threat: its kind, by name.
        rule: which iterates were judged.
        members: the members in the order in which they ran.
        broken_by: per image the member that broke it first, -1 robust, -2 misclassified without any attack.
        white_box: which members follow gradients of the attacked network.
        gradients, queries: forward passes with and without a gradient, counted in images, by member.
        excess: how far beyond ball or box each member's images were before they were clipped; 1 for a pixel that is no number.
        seconds: time on the clock that each member took.

    The last five are empty where nobody counted.
    """

    model_config = ConfigDict(frozen=True)
    attack: str
    eps: Annotated[float, Field(ge=0)]
    threat: Kind = USUAL
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
    def within(self) -> Threat:
        """The threat as a value."""
        return kind(self.threat)(self.eps)

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


class PathFigures(BaseModel):
    """A gradient path on the pilot images: the shares that PGD-5 breaks along it, and that have no finite gradient but 0."""

    model_config = ConfigDict(frozen=True)
    broken: float
    zero_gradient: float


Verdict = Literal["pass", "warn", "fail"]


class Check(BaseModel):
    """One check of the audit: its figure, what that means, and the verdict."""

    model_config = ConfigDict(frozen=True)
    name: str
    figure: float
    verdict: Verdict
    meaning: str


class Example(BaseModel):
    """An image before and after an attack that broke the network with it.

    Arguments:
        image, label, seen_as: its id, what it shows, and what the network takes the adversarial image for.
        attack, member, eps, threat: which ensemble, which of its members, and the threat's radius and kind.
        shape: ``[C,H,W]``, or that of samples of another rank.
        original, adversarial: its values rounded to bytes, in base64.
    """

    model_config = ConfigDict(frozen=True)
    image: int
    label: int
    seen_as: int
    attack: str
    member: str
    eps: Annotated[float, Field(ge=0)]
    threat: Kind = USUAL
    shape: tuple[PositiveInt, ...]
    original: Base64Bytes
    adversarial: Base64Bytes

    @model_validator(mode="after")
    def _check(self) -> Example:
        if not len(self.original) == len(self.adversarial) == math.prod(self.shape):
            raise ValueError("an example needs one byte per channel and pixel")
        return self

    @property
    def within(self) -> Threat:
        """The threat as a value."""
        return kind(self.threat)(self.eps)


class Report(BaseModel):
    """What was measured on one network.

    Arguments:
        protocol: its name; with a digest of what it is made of, where it is not one of `PROTOCOLS`.
        edition: of the protocol; reports of different editions are not compared.
        images, timesteps: how many were evaluated; T, or None for an ANN.
        seed: what starts, pilot and audit were drawn from.
        results: per attack and epsilon; every accuracy follows from their ``broken_by``.
        pilot: every published and scaled path, and the protocol's others, alone, on a few images; empty without pilot.
        audit: whether the numbers mean anything; empty without audit.
        audited: on how many images, at most ``images``, and how thoroughly; None without audit, and where nobody noted it.
        weights: how many weights of convolutions and linear layers are not 0, and how many there are.
        thresholds, firing_rates: per layer of neurons (mean over a layer; spikes per neuron and time step).
        operations: per layer of weights; empty where the network cannot be followed.
        correct_over_time: how many images are right without an attack after 1, 2, ... time steps.
        examples: a few adversarial images.
        seconds: time on the clock that all this took, since it was last continued.
    """

    model_config = ConfigDict(frozen=True)
    protocol: str
    edition: int = 1
    images: int
    seed: int
    timesteps: int | None
    results: Annotated[tuple[Result, ...], Field(min_length=1)]
    pilot: dict[str, PathFigures] = {}
    audit: tuple[Check, ...] = ()
    audited: Audit | None = None
    weights: tuple[int, int]
    thresholds: dict[str, float]
    firing_rates: dict[str, float]
    operations: dict[str, Operations] = {}
    correct_over_time: tuple[int, ...] = ()
    examples: tuple[Example, ...] = ()
    seconds: float

    @model_validator(mode="after")
    def _check(self) -> Report:
        if any(len(result.broken_by) != self.images for result in self.results):
            raise ValueError("every result needs one broken_by per image")
        if len({result.threat for result in self.results}) > 1:
            raise ValueError("all results of a report need the same kind of threat")
        return self

    @property
    def clean(self) -> Interval:
        """Accuracy without an attack."""
        return self.results[0].clean

    @property
    def threat(self) -> str:
        """The kind of threat under which everything was measured, by name."""
        return self.results[0].threat

    @property
    def correct(self) -> tuple[bool, ...]:
        """Which images are classified correctly without an attack."""
        return tuple(flag != MISCLASSIFIED for flag in self.results[0].broken_by)

    @property
    def spiking(self) -> bool:
        """Whether the network runs in time steps."""
        return self.timesteps is not None

    @property
    def ruler(self) -> str:
        """The protocol as pages name it: with its edition where there are several, and marked if there is a newer one."""
        newest = PROTOCOLS[self.protocol].edition if self.protocol in PROTOCOLS else 1
        old = ", older protocol" if self.edition < newest else ""
        return self.protocol if newest == 1 else f"{self.protocol} (edition {self.edition}{old})"

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return "spiking network" if self.spiking else "ANN"

    def at(self, eps: float) -> tuple[Result, ...]:
        """All that was measured at one radius."""
        return tuple(result for result in self.results if math.isclose(result.eps, eps))

    def withstood(self, eps: float) -> tuple[bool, ...]:
        """Which images survive every ensemble measured at one radius; empty where none was."""
        return tuple(set(image) == {ROBUST} for image in zip(*(result.broken_by for result in self.at(eps)), strict=True))

    def worst(self, eps: float) -> Interval | None:
        """The share of images that survive every ensemble measured at one radius; None where none was."""
        survivors = self.withstood(eps)
        return wilson(sum(survivors), self.images) if survivors else None

    def result(self, attack: str, eps: float) -> Result:
        """The result of one ensemble.

        Raises:
            ValueError: it was not measured.
        """
        if found := [result for result in self.at(eps) if result.attack == attack]:
            return found[0]
        raise ValueError(f"{attack} at eps {eps:g} was not measured: {[(r.attack, round(r.eps, 4)) for r in self.results]}")
