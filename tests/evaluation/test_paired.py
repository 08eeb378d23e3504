"""Two networks on the same images."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.evaluation import Paired


def test_images_are_counted_that_only_one_gets_right():
    assert Paired.of([True, True, False, False], [True, False, False, True]) == Paired(1, 1, 4)
    assert Paired.of((True,) * 3, (False, False, True)) == Paired(2, 0, 3)


@pytest.mark.parametrize(("one", "other"), [([], []), ([True], []), ([True] * 3, [False] * 2)])
def test_other_images_are_refused(one, other):
    with pytest.raises(ValueError, match="on the same images, not on"):
        Paired.of(one, other)


@given(st.integers(0, 40), st.integers(0, 40))
def test_p_is_the_share_of_all_tosses_that_are_no_likelier(won, lost):
    pair, tosses = Paired(won, lost, 200), won + lost
    ways = [math.comb(tosses, k) for k in range(tosses + 1)]
    assert pair.p == pytest.approx(float(Fraction(sum(way for way in ways if way <= ways[won]), 2**tosses)))
    assert pair.told_apart == (pair.p < 0.05)
    turned = Paired(lost, won, 200)
    assert (turned.p, turned.difference.value) == (pair.p, -pair.difference.value)


@pytest.mark.parametrize(("won", "lost"), [(0.3, 0.1), (0.1, 0.1), (0.05, 0.02), (0.4, 0.3)])
def test_the_interval_holds_the_truth_in_about_95_of_100_samples(won, lost):
    """By all samples of 40 images, each weighed with its chance."""
    images, held = 40, 0.0
    for w in range(images + 1):
        for m in range(images + 1 - w):
            found = Paired(w, m, images).difference
            assert -1 <= found.low <= found.value <= found.high <= 1
            chance = math.comb(images, w) * math.comb(images - w, m) * won**w * lost**m * (1 - won - lost) ** (images - w - m)
            held += chance * (found.low <= won - lost <= found.high)
    assert 0.93 < held < 0.995
