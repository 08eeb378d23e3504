"""Members of an ensemble: an attack combined with a gradient path, and the published and later sets of paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from robustsnn.attacks import accepted, asks_for_gradients
from robustsnn.conversion import folded
from robustsnn.names import build, nearest
from robustsnn.ranges import Ranged, Share
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
from robustsnn.types import Attack, GradientPath, Kinds, Threat

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
"""Surrogates in units of each layer's threshold, for networks with thresholds far from 1."""

EVENT_PATHS: tuple[GradientPath, ...] = (
    *(PotentialDependent(), Scaled(Triangle(1.0)), Adaptive(0.43, relative=True), Surrogate(Triangle(1.0)), Rate()),
)
"""The paths that attacks on events follow, the first two also for longer."""

STRONGER_PATHS: tuple[GradientPath, ...] = (Hybrid(), RateApproximation(), PotentialDependent(), *ADAPTIVE_PATHS)
"""Gradient paths published since."""


def path(text: str) -> GradientPath:
    """Build a gradient path from its text.

    Raises:
        ValueError: the text cannot be parsed, or is not a path but, for example, a surrogate derivative alone.

    >>> path("Surrogate(Triangle(0.5))").derivative
    Triangle(width=0.5)
    """
    made = build("path", {**PATHS, **SURROGATES}, text)
    if type(made).__name__ not in PATHS:
        raise ValueError(f"{text} is not a gradient path but a surrogate derivative: write Surrogate({text})")
    if isinstance(made, Surrogate | Scaled) and (given := type(made.derivative).__name__) not in SURROGATES:
        raise ValueError(f"the derivative of {text} cannot be {given}: {nearest(given, SURROGATES)}")
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Transfer:
    """Transfer: another network provides the gradient, the attacked network judges."""

    name: str
    source: nn.Module = field(repr=False)

    def __str__(self) -> str:
        return f"transfer from {self.name}"

    def __call__(self, net: nn.Module) -> nn.Module:
        return folded(self.source)


@dataclass(frozen=True)
class Strongest:
    """Placeholder for the ``count`` strongest published or scaled paths, as ranked by the pilot."""

    count: int = 3


@dataclass(frozen=True)
class Sources:
    """Placeholder for a `Transfer` from every source network of the evaluation."""


@dataclass(frozen=True)
class Group(Ranged):
    """One attack along several gradient paths.

    Arguments:
        only: kinds of threat under which it runs; if empty, it must support every threat of its protocol.
        give_up: it skips samples whose margin no earlier member has brought above this share of the clean one; 1 skips none.

    Raises:
        ValueError: the attack does not declare its kinds of threat, or ``give_up`` is not a share.
    """

    name: str
    attack: Attack
    paths: tuple[GradientPath | Strongest | Sources, ...]
    only: Kinds = ()
    give_up: Share = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.attack, "follows"):
            raise ValueError(f"attack {self.name!r} must declare its kinds of threat: follows = (Ball,) for any norm")

    def runs(self, threat: Threat) -> bool:
        """Return whether the group runs under a threat.

        Raises:
            ValueError: it should, but its attack does not support the threat.
        """
        return bool(accepted(self.attack, threat)) if not self.only else isinstance(threat, self.only)

    @property
    def transfers(self) -> bool:
        """Whether the group uses transfer from source networks."""
        return any(isinstance(path, Sources) for path in self.paths)


@dataclass(frozen=True)
class Member:
    """An attack along a gradient path, within a threat.

    Arguments:
        name: name in reports.
        white_box: whether the attack uses gradients of the attacked network, not only queries or transfer.
        give_up: see `Group`.
    """

    attack: Attack
    threat: Threat
    path: GradientPath
    name: str = ""
    white_box: bool = True
    give_up: float = 1.0

    def __str__(self) -> str:
        return f"{self.attack} within {self.threat} along {self.path}"


def leading(net: nn.Module, paths: Sequence[GradientPath]) -> list[GradientPath]:
    """Return the paths that a network supports; `Plain`, the network's own backward pass, replaces all others.

    `Spiking.leads` decides which paths a spiking network supports; an ANN supports only `Plain`.
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
    """Return the members of an ensemble under a threat.

    Arguments:
        groups: the groups of the ensemble.
        threat: the allowed perturbations.
        net: the attacked network; `leading` selects its paths.
        ranking: paths by decreasing strength; sets the order within a group and the `Strongest` paths. If empty, the order is
            as written and `Strongest` takes the first published paths.
        sources: networks to transfer from, by name.
    """
    found: dict[str, Member] = {}
    for group in (group for group in groups if group.runs(threat)):
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
            member = Member(group.attack, threat, path, name, white_box, group.give_up)
            found.setdefault(str(member), member)
    return tuple(found.values())
