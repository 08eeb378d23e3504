"""The named protocols member by member, and one's own read from TOML."""

from __future__ import annotations

import pytest

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
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS, Group, Sources, Strongest, members, protocol
from robustsnn.spiking import (
    Adaptive,
    Analog,
    Exponential,
    Hybrid,
    Plain,
    PotentialDependent,
    Rate,
    RateApproximation,
    Scaled,
    Surrogate,
    Triangle,
)
from robustsnn.threats import L2, Flips, Linf, Retiming


def made(name):
    """The attack and the paths of each ensemble that is one group."""
    return {key: (group.attack, group.paths) for key, (group,) in PROTOCOLS[name].ensembles.items()}


def test_quick_is_one_step_and_ten_along_four_paths_and_two_strong_attacks_every_iterate_judged():
    paths = (Surrogate(Triangle(1.0)), Surrogate(Exponential(1.0, 1.0)), Rate(), Analog())
    ensembles = {
        name: [(group.attack, group.paths) for group in groups] for name, groups in PROTOCOLS["quick"].ensembles.items()
    }
    assert ensembles == {
        "FGSM": [(FGSM(), paths)],
        "PGD-10": [(PGD(steps=10), paths)],
        "strong": [
            (SAPGD(steps=30), (Adaptive(0.43),)),
            (APGD(steps=20, goal=DLR()), (Surrogate(Triangle(1.0)),)),
        ],
    }
    assert PROTOCOLS["quick"].rule == "any"


def test_paper_is_the_published_ensemble_with_the_last_iterate_judged():
    attacks = (FGSM(), RFGSM(alpha=0.25), PGD(steps=20), APGD(steps=10), APGD(steps=10, goal=DLR()), TargetedAPGD(steps=10))
    assert list(made("paper").values()) == [(attack, PUBLISHED_PATHS) for attack in attacks]
    assert (PROTOCOLS["paper"].rule, PROTOCOLS["paper"].ranked) == ("last", False)


def test_rigorous_is_one_ensemble_of_everything():
    chosen = PROTOCOLS["rigorous"]
    (groups,) = chosen.ensembles.values()
    assert (chosen.rule, chosen.ranked, chosen.edition) == ("any", True, 3)
    by_paths = {group.paths: group.attack for group in groups}
    adaptive = *(Adaptive(a) for a in (0.41, 0.42, 0.43, 0.44, 0.45)), Adaptive(0.43, relative=True)
    assert by_paths[adaptive] == SAPGD(steps=100, restarts=2)
    assert groups[0].paths == adaptive, "what breaks most per gradient goes first"
    assert by_paths[*PUBLISHED_PATHS, *(Scaled(Triangle(width)) for width in (0.5, 1.0, 2.0))] == PGD(steps=20)
    assert isinstance(by_paths[Hybrid(), RateApproximation(), PotentialDependent()], APGD)
    assert {Strongest(1), Strongest(3), Sources()} < {path for group in groups for path in group.paths}
    black_box = [group.attack for group in groups if group.paths == (Plain(),)]
    assert black_box == [NES(queries=10_000, give_up=0.6), Square(queries=5000, give_up=0.6)]
    strongest = [group.attack for group in groups if group.paths == (Strongest(3),)]
    assert strongest == [APGD(steps=20), APGD(steps=50, goal=DLR())]
    near = next(group.attack for group in groups if getattr(group.attack, "after", None))
    assert (near.after, near.give_up) == (APGD(steps=50, goal=Margin()), 0.6)


def test_autoattack_is_its_four_attacks():
    (groups,) = PROTOCOLS["autoattack"].ensembles.values()
    assert [type(group.attack) for group in groups] == [APGD, TargetedAPGD, FAB, Square]


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "events"])
def test_every_attack_keeps_to_the_threat_it_is_given(name, net, ann):
    for groups in PROTOCOLS[name].ensembles.values():
        found = members(groups, L2(0.125), net, sources={"ann": ann})
        assert {member.threat for member in found} == {L2(0.125)}
        assert len({member.name for member in found}) == len(found)


def test_events_follow_their_threat_and_no_ball(net):
    (groups,) = PROTOCOLS["events"].ensembles.values()
    flips, shifts = ({type(member.attack) for member in members(groups, threat, net)} for threat in (Flips(0.02), Retiming(1)))
    assert flips == {GreedyFlips, EventPGD, SDA, EventSearch, UniformNoise}
    assert shifts == {EventPGD, EventSearch, UniformNoise}
    with pytest.raises(ValueError, match=r"EventPGD does not support the threat Linf.*use one of Flips, Retiming"):
        members(groups, Linf(0.1), net)


OWN = """
rule = "last"
[[ensembles.mine]]
attack = "PGD(steps=3, restarts=2)"
paths = ["Surrogate(Triangle(0.5))", "Rate"]
[[ensembles.mine]]
attack = "FGSM"
paths = ["strongest", "sources"]
[[ensembles.all]]
name = "one step"
attack = "FGSM()"
paths = ["published"]
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_protocol_of_ones_own_is_read_from_toml(encoding, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding)
    found = protocol(str(path))
    assert (found.rule, found.ranked) == ("last", False)
    mine = (
        Group("PGD(steps=3, restarts=2)", PGD(steps=3, restarts=2), (Surrogate(Triangle(0.5)), Rate())),
        Group("FGSM", FGSM(), (Strongest(3), Sources())),
    )
    assert found.ensembles == {"mine": mine, "all": (Group("one step", FGSM(), PUBLISHED_PATHS),)}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "at least one"),
        ("rule = 'best'\n" + OWN.replace('rule = "last"', ""), "rule must be"),
        ("rules = 'any'", "did you mean 'rule'"),
        ("[ensembles]\nmine = []", "at least one"),
        ("[[ensembles.mine]]\nattack = 'FGSM'", "needs 'attack' and 'paths'"),
        ("[[ensembles.mine]]\nattack = 'FGSM'\npaths = []", "FGSM needs at least one path"),
        ("[[ensembles.mine]]\nattack = 'FGMS'\npaths = ['Rate']", "did you mean 'FGSM'"),
        ("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Rat']", "did you mean 'Rate'"),
        ("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Triangle(0.5)']", r"write Surrogate\(Triangle\(0.5\)\)"),
        ("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Surrogate(3)']", r"such as Triangle\(0.5\), not 3"),
        ("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Surrogate(Rate)']", "cannot be Rate: known: Exponential"),
        ("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Hybrid(width=-1)']", "greater than 0, not -1"),
        ("[[ensembles.mine]]\nattack = 'FGSM(eps=0.1)'\npaths = ['Rate']", r"FGSM\(eps=0.1\): leave out eps"),
        ("[[ensembles.mine]]\nattack = 'FGSM(steps=3)'\npaths = ['Rate']", "no field 'steps'"),
        ("[[[", "not valid TOML"),
    ],
)
def test_a_mistake_in_it_is_named(text, line, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=line):
        protocol(str(path))


def test_a_protocol_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="did you mean 'paper'"):
        protocol("papper")
    with pytest.raises(ValueError, match=r"cannot read protocol nowhere\.toml"):
        protocol("nowhere.toml")
