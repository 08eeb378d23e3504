"""Members of an ensemble: an attack along a gradient path. The published ensemble of 19 gradients is four lines of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from robustsnn.attacks import asks_for_gradients
from robustsnn.conversion import folded
from robustsnn.names import build, nearest
from robustsnn.spiking import (
    PATHS,
    SURROGATES,
    Adaptive,
    Analog,
    Exponential,
    Hybrid,
    Plain,
    PotentialDependent,
    Rate,
    RateApproximation,
    Rectangle,
    Scaled,
    Spiking,
    StraightThrough,
    Surrogate,
    Triangle,
)
from robustsnn.types import Attack, GradientPath, Threat

PUBLISHED_PATHS: tuple[GradientPath, ...] = (
    *(Surrogate(Triangle(width)) for width in (1.0, 2.0, 3.0, 0.5, 0.25)),
    *(Surrogate(Exponential(height, rate)) for height in (0.3, 1.0) for rate in (0.5, 1.0, 2.0)),
    *(Surrogate(Rectangle(width)) for width in (0.25, 0.5, 1.0, 2.0, 4.0)),
    *(Surrogate(StraightThrough()), Rate(), Analog()),
)
"""The 19 gradient paths of Ozdenizci & Legenstein 2024, in their order."""

QUICK_PATHS: tuple[GradientPath, ...] = (Surrogate(Triangle(1.0)), Surrogate(Exponential(1.0, 1.0)), Rate(), Analog())

ADAPTIVE_PATHS: tuple[GradientPath, ...] = (
    *(Adaptive(a) for a in (0.41, 0.42, 0.43, 0.44, 0.45)),
    Adaptive(0.43, relative=True),
)

SCALED_PATHS: tuple[GradientPath, ...] = tuple(Scaled(Triangle(width)) for width in (0.5, 1.0, 2.0))
"""Surrogates in units of each layer's threshold, for networks whose thresholds the published widths do not fit."""

STRONGER_PATHS: tuple[GradientPath, ...] = (Hybrid(), RateApproximation(), PotentialDependent(), *ADAPTIVE_PATHS)
"""Gradients found since."""


def path(text: str) -> GradientPath:
    """The gradient path that a text spells.

    Raises:
        ValueError: text that cannot be read, a surrogate alone, or anything else in the place of one.

    >>> path("Surrogate(Triangle(0.5))").derivative
    Triangle(width=0.5)
    """
    made = build("path", {**PATHS, **SURROGATES}, text)
    if type(made).__name__ not in PATHS:
        raise ValueError(f"{text} is no path, but the derivative of one: write Surrogate({text})")
    if isinstance(made, Surrogate | Scaled) and (given := type(made.derivative).__name__) not in SURROGATES:
        raise ValueError(f"the derivative of {text} cannot be {given}: {nearest(given, SURROGATES)}")
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Transfer:
    """Another network in the place of the attacked one: its gradient leads, the attacked one judges."""

    name: str
    source: nn.Module = field(repr=False)

    def __str__(self) -> str:
        return f"transfer from {self.name}"

    def __call__(self, net: nn.Module) -> nn.Module:
        return folded(self.source)


@dataclass(frozen=True)
class Strongest:
    """Stands for as many of the published and the scaled paths as the pilot found strongest."""

    count: int = 3


@dataclass(frozen=True)
class Sources:
    """Stands for a `Transfer` from every network that the evaluation was given."""


@dataclass(frozen=True)
class Group:
    """The same attack along some paths.

    Raises:
        ValueError: an attack that does not say which threats it follows.
    """

    name: str
    attack: Attack
    paths: tuple[GradientPath | Strongest | Sources, ...]

    def __post_init__(self) -> None:
        if not hasattr(self.attack, "follows"):
            raise ValueError(f"attack {self.name!r} must say which kinds of threat it follows: follows = (Ball,) for any norm")

    @property
    def transfers(self) -> bool:
        """Whether it tries examples of the networks that the evaluation was given."""
        return any(isinstance(path, Sources) for path in self.paths)


@dataclass(frozen=True)
class Member:
    """An attack that follows a gradient path as far as a threat allows.

    Arguments:
        name: what reports call it.
        white_box: whether it follows gradients of the attacked network: neither queries nor transfer.
    """

    attack: Attack
    threat: Threat
    path: GradientPath
    name: str = ""
    white_box: bool = True

    def __str__(self) -> str:
        return f"{self.attack} within {self.threat} along {self.path}"


def leading(net: nn.Module, paths: Sequence[GradientPath]) -> list[GradientPath]:
    """The paths that lead through a network; for all that do not stands `Plain`, back-propagation as it itself defines it.

    A spiking network says of each path whether it leads through it (`Spiking.leads`); through an ANN leads `Plain`.
    """

    def fits(path: GradientPath) -> bool:
        return isinstance(path, Transfer) or (isinstance(net, Spiking) and net.leads(path))

    return list(dict.fromkeys(path if fits(path) else Plain() for path in paths))


def members(
    groups: Sequence[Group],
    threat: Threat,
    net: nn.Module,
    ranking: Sequence[GradientPath] = (),
    sources: Mapping[str, nn.Module] = {},
) -> tuple[Member, ...]:
    """The members of an ensemble under a threat.

    Arguments:
        groups: what it is made of.
        threat: what they may do.
        net: what is attacked; which paths it has, `leading` says.
        ranking: paths by falling strength, which decides the order within a group and who is among the `Strongest`;
            empty keeps the order as written and takes the first ones.
        sources: the networks that examples are transferred from.
    """
    found: dict[str, Member] = {}
    for group in groups:
        paths: list[GradientPath] = []
        for path in group.paths:
            if isinstance(path, Strongest):
                paths += (list(ranking) or list(PUBLISHED_PATHS))[: path.count]
            elif isinstance(path, Sources):
                paths += [Transfer(name, source) for name, source in sources.items()]
            else:
                paths.append(path)
        paths = leading(net, paths)
        places = {str(path): place for place, path in enumerate(ranking)}
        for path in sorted(paths, key=lambda path: places.get(str(path), len(places))):
            name = str(path) if len(groups) == 1 else f"{group.name} along {path}"
            white_box = asks_for_gradients(group.attack) and not isinstance(path, Transfer)
            member = Member(group.attack, threat, path, name, white_box)
            found.setdefault(str(member), member)
    return tuple(found.values())
