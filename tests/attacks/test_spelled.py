"""Attacks from text."""

from __future__ import annotations

import pytest

from robustsnn.attacks import APGD, ATTACKS, DLR, PGD, Boundary, Gaussian, attack


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PGD", PGD()),
        ("PGD(steps=3, start=Boundary)", PGD(steps=3, start=Boundary())),
        ("PGD(start=Gaussian(0.01), goal=DLR())", PGD(start=Gaussian(0.01), goal=DLR())),
        ("APGD(goal=DLR)", APGD(goal=DLR())),
    ],
)
def test_text_spells_an_attack(text, value):
    assert attack(text) == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FGMS", "did you mean 'FGSM'"),
        ("DLR", r"DLR is not an attack but a part of one: write PGD\(goal=DLR\)"),
        ("Uniform()", "is not an attack"),
        ("PGD(goal=Uniform)", "goal of attack PGD.* cannot be Uniform: known: CrossEntropy"),
        ("PGD(start=DLR)", "start of attack PGD.* cannot be DLR: "),
        ("APGD(goal=3)", "goal of attack APGD.* cannot be int"),
    ],
)
def test_what_is_no_attack_is_named(text, line):
    with pytest.raises(ValueError, match=line):
        attack(text)


def test_an_attack_of_ones_own_is_found_once_it_has_a_name(monkeypatch):
    class Mine(PGD):
        pass

    monkeypatch.setitem(ATTACKS, "Mine", Mine)
    assert attack("Mine(steps=2)") == Mine(steps=2)
