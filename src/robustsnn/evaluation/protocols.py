"""Protocols as data: the ensembles of attacks that an image must survive to count as robust, and the extent of the audit."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from robustsnn.attacks import (
    APGD,
    DLR,
    FAB,
    FGSM,
    NES,
    PGD,
    RFGSM,
    SAPGD,
    SDA,
    EventPGD,
    EventSearch,
    GreedyFlips,
    Margin,
    Square,
    TargetedAPGD,
    UniformNoise,
)
from robustsnn.attacks import attack as spelled_attack
from robustsnn.evaluation.member import (
    ADAPTIVE_PATHS,
    EVENT_PATHS,
    PUBLISHED_PATHS,
    QUICK_PATHS,
    SCALED_PATHS,
    Group,
    Sources,
    Strongest,
    path,
)
from robustsnn.names import Rule, find, is_toml, nearest
from robustsnn.ranges import Count, Ranged, Whole
from robustsnn.settings import Settings
from robustsnn.spiking import Adaptive, Hybrid, Plain, PotentialDependent, RateApproximation, Surrogate, Triangle
from robustsnn.threats import Flips
from robustsnn.types import Attack


@dataclass(frozen=True)
class Audit(Ranged):
    """The extent of an audit, which checks for signs of gradient masking.

    Arguments:
        images: number of audited images; 0: no audit.
        steps: steps of the long PGD run on the surviving images.
        queries: queries of each black-box attack on the surviving images.

    Raises:
        ValueError: a number is out of range.
    """

    images: Whole = 64
    steps: Count = 1000
    queries: Count = 1000

    def under(self, asked: Settings) -> Audit:
        """Return this audit with the settings' values instead of its own, where they are given."""
        said = {name: getattr(asked, f"audit_{name}") for name in ("images", "steps", "queries")}
        return replace(self, **{name: number for name, number in said.items() if number is not None})


@dataclass(frozen=True)
class Protocol:
    """Ensembles by name, and the rule that says which iterates are judged.

    Arguments:
        ensembles: an image is robust under an ensemble if it survives all of its members.
        rule: ``"any"`` judges every iterate, ``"last"`` only the last one.
        ranked: a pilot ranks the gradient paths; the strongest run first.
        edition: version of the protocol; results of different editions are not comparable.
        audit: default extent of the audit.
    """

    ensembles: dict[str, tuple[Group, ...]]
    rule: Rule
    ranked: bool = False
    edition: int = 1
    audit: Audit = field(default=Audit(), repr=False)  # it does not change which images are broken


PAPER_ATTACKS: dict[str, Attack] = {
    "FGSM": FGSM(),
    "RFGSM": RFGSM(),
    "PGD-20": PGD(steps=20),
    "APGD-CE-10": APGD(steps=10),
    "APGD-DLR-10": APGD(steps=10, goal=DLR()),
    "APGD-T": TargetedAPGD(steps=10),
}
FAR = 0.6
"""`rigorous` stops querying an image whose margin stays above this share of the clean margin. Of 225 digits at two radii,
query attacks broke 50; all of these were below it by then."""

NEAR = NES(queries=2000, spread=0.1, first=0.1, last=0.02, after=APGD(steps=50, goal=Margin()), give_up=FAR)
"""Query attack near the best result of a gradient attack."""

ONE_PATH = (Surrogate(Triangle(1.0)),)

PROTOCOLS: dict[str, Protocol] = {
    "quick": Protocol(
        {
            "FGSM": (Group("FGSM", FGSM(), QUICK_PATHS),),
            "PGD-10": (Group("PGD-10", PGD(steps=10), QUICK_PATHS),),
            "strong": (
                Group("SA-PGD-30", SAPGD(steps=30), (Adaptive(0.43),)),
                Group("APGD-DLR-20", APGD(steps=20, goal=DLR()), ONE_PATH),
            ),
        },
        "any",
        audit=Audit(images=16, steps=50, queries=50),
    ),
    "paper": Protocol(
        {name: (Group(name, attack, PUBLISHED_PATHS),) for name, attack in PAPER_ATTACKS.items()},
        "last",
    ),
    "rigorous": Protocol(
        {
            "rigorous": (
                Group("SA-PGD-100", SAPGD(steps=100, restarts=2), ADAPTIVE_PATHS),
                Group("PGD-20", PGD(steps=20), (*PUBLISHED_PATHS, *SCALED_PATHS)),
                Group("APGD-CE-20", APGD(steps=20), (Strongest(3),)),
                Group("APGD-CE-50", APGD(steps=50), (Hybrid(), RateApproximation(), PotentialDependent())),
                Group("APGD-DLR-50", APGD(steps=50, goal=DLR()), (Strongest(3),)),
                Group("APGD-T-20", TargetedAPGD(steps=20), (Strongest(1),)),
                Group("PGD-20", PGD(steps=20), (Sources(),)),
                Group("NES-2000 near APGD-50", NEAR, (Strongest(3), PotentialDependent())),
                Group("NES-10000", NES(queries=10_000, give_up=FAR), (Plain(),)),
                Group("Square-5000", Square(queries=5000, give_up=FAR), (Plain(),)),
            )
        },
        "any",
        ranked=True,
        edition=3,
    ),
    "events": Protocol(
        {
            "events": (
                Group("GreedyFlips-20", GreedyFlips(20, goal=Margin()), EVENT_PATHS, (Flips,)),
                Group("EventPGD-50", EventPGD(50), EVENT_PATHS),
                Group("EventPGD-200 on the margin", EventPGD(200, goal=Margin()), EVENT_PATHS[:2]),
                Group("SDA-20", SDA(rounds=20), EVENT_PATHS, (Flips,)),
                Group("EventSearch-200", EventSearch(200), (Plain(),)),
                Group("random", UniformNoise(10), (Plain(),)),
            ),
        },
        "any",
    ),
    "autoattack": Protocol(
        {
            "AutoAttack": (
                Group("APGD-CE-100", APGD(steps=100), ONE_PATH),
                Group("APGD-T-100", TargetedAPGD(steps=100), ONE_PATH),
                Group("FAB-T-100", FAB(steps=100), ONE_PATH),
                Group("Square-5000", Square(queries=5000), (Plain(),)),
            )
        },
        "any",
    ),
}


def protocol(name: str) -> Protocol:
    """Return a protocol by name, or read one from a TOML file:

        rule = "any"
        ranked = false                              # optional; true: the pilot's order

        [[ensembles.mine]]
        attack = "PGD(steps=50, restarts=2)"        # the evaluation sets the threat
        paths = ["Surrogate(Triangle(0.5))", "Rate", "published"]
        give_up = 0.5                               # optional, see `Group`

    ``"published"`` stands for the 19 published paths, ``"strongest"`` for the pilot's three strongest ones, ``"sources"`` for
    transfer from the source networks.

    Raises:
        ValueError: the name, an attack or a path is unknown, or the file is not a protocol.
    """
    if not is_toml(name):
        return find("protocol", PROTOCOLS, name)
    try:
        table = tomllib.loads(Path(name).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read protocol {name}: {error.strerror}; check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{name} is not valid TOML: {error}") from None
    if unknown := sorted(set(table) - {"rule", "ranked", "ensembles"}):
        raise ValueError(f"{name}: unknown key {unknown[0]!r}: {nearest(unknown[0], ('rule', 'ranked', 'ensembles'))}")
    rule, ranked, ensembles = table.get("rule", "any"), table.get("ranked", False), table.get("ensembles")
    if rule not in get_args(Rule) or not isinstance(ranked, bool):
        raise ValueError(f"{name}: rule must be 'any' or 'last', and ranked true or false, not {rule!r} and {ranked!r}")
    if not isinstance(ensembles, dict) or not ensembles or not all(isinstance(g, list) and g for g in ensembles.values()):
        raise ValueError(f"{name}: write at least one [[ensembles.NAME]] with 'attack' and 'paths'")
    return Protocol({key: tuple(_group(group, name) for group in groups) for key, groups in ensembles.items()}, rule, ranked)


def _group(table: Any, where: str) -> Group:
    known = isinstance(table, dict) and set(table) - {"name", "give_up"} == {"attack", "paths"}
    if not known or not isinstance(table["paths"], list):
        raise ValueError(
            f"{where}: every ensemble needs 'attack' and 'paths', and optionally 'name' and 'give_up', not {table}"
        )
    if not table["paths"]:
        raise ValueError(
            f"{where}: {table['attack']} needs at least one path, such as 'published'; see 'robustsnn list paths'"
        )
    stand_ins: dict[str, tuple[Any, ...]] = {
        "published": PUBLISHED_PATHS,
        "strongest": (Strongest(),),
        "sources": (Sources(),),
    }
    paths: list[Any] = []
    for text in map(str, table["paths"]):
        paths += stand_ins[text] if text in stand_ins else [path(text)]
    attack, name = spelled_attack(str(table["attack"])), str(table.get("name", table["attack"]))
    return Group(name, attack, tuple(paths), give_up=table.get("give_up", 1.0))
