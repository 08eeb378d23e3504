"""Protocols are the tables of evaluation.md."""

from __future__ import annotations

import pytest

from robustsnn.attacks import FGSM, PGD, RFGSM, Linf
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS
from robustsnn.spiking import Analog, Exponential, Rate, Surrogate, Triangle


def made(name, eps):
    return {attack: make(eps) for attack, make in PROTOCOLS[name].attacks.items()}


def test_quick_is_one_step_and_ten_along_four_paths_every_iterate_judged():
    quick = PROTOCOLS["quick"]
    assert made("quick", 0.2) == {"FGSM": FGSM(0.2), "PGD-10": PGD(0.2, steps=10)}
    assert quick.paths == (Surrogate(Triangle(1.0)), Surrogate(Exponential(1.0, 1.0)), Rate(), Analog())
    assert quick.rule == "any"


def test_paper_is_the_published_ensemble_with_the_last_iterate_judged():
    attacks = made("paper", 0.2)
    published = {"FGSM": FGSM(0.2), "RFGSM": RFGSM(0.2, alpha=0.25), "PGD-20": PGD(0.2, steps=20)}
    assert attacks == attacks | published
    assert (PROTOCOLS["paper"].paths, PROTOCOLS["paper"].rule) == (PUBLISHED_PATHS, "last")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_attack_keeps_to_the_radius_it_is_given(name):
    assert {attack.ball for attack in made(name, 0.125).values()} == {Linf(0.125)}
