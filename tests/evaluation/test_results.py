"""Results: every accuracy follows from the flags, with Wilson's interval."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from composed import changed, composed
from robustsnn.evaluation import MISCLASSIFIED, PROTOCOLS, ROBUST, Interval, Report, Result, wilson

FLAGS = st.lists(st.integers(-2, 5), min_size=1, max_size=40).map(tuple)


def result(broken_by, attack="FGSM", eps=0.1):
    return Result(attack=attack, eps=eps, rule="any", members=("a",) * 6, broken_by=broken_by)


def report(*results, **fields):
    figures = {"results": results, "thresholds": {"a": 1.0}, "weights": (5, 5), "firing_rates": {"a": 0.5}}
    return composed(protocol="quick", images=len(results[0].broken_by), timesteps=2, **figures, **fields)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # from the closed form in R's binom.wilson and Newcombe 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0000),
    ],
)
def test_wilson_gives_the_published_intervals(hits, count, low, high):
    found = wilson(hits, count)
    assert (found.value, found.low, found.high) == pytest.approx((hits / count, low, high), abs=5e-5)


@given(st.integers(1, 10**5), st.data())
def test_wilson_is_the_closed_form(count, data):
    hits, z = data.draw(st.integers(0, count)), 1.959963984540054
    share = hits / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    found = wilson(hits, count)
    assert (found.low, found.high) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-12, rel=0)


@given(st.integers(1, 10**5), st.data())
def test_the_interval_holds_the_share_and_mirrors_that_of_the_misses(count, data):
    hits = data.draw(st.integers(0, count))
    found, misses = wilson(hits, count), wilson(count - hits, count)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value <= found.high + 1e-12 <= 1 + 2e-12
    assert (found.low, found.high) == pytest.approx((1 - misses.high, 1 - misses.low), abs=1e-9)


def test_of_no_images_nothing_is_known():
    found = wilson(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


@given(FLAGS)
def test_accuracies_are_shares_of_the_flags(flags):
    measured = result(flags)
    assert measured.clean == wilson(len(flags) - flags.count(MISCLASSIFIED), len(flags))
    assert measured.robust == wilson(flags.count(ROBUST), len(flags))
    assert measured.robust.value <= measured.clean.value


@given(FLAGS, st.floats(0, 1))
def test_a_report_survives_json_bit_by_bit(flags, eps):
    value = report(result(flags, eps=eps), result(flags[::-1], "PGD"))
    text = value.model_dump_json()
    assert Report.model_validate_json(text) == value
    assert Report.model_validate_json(text).model_dump_json() == text


def test_a_result_is_found_by_attack_and_radius():
    wanted = result((-1,), "PGD", 8 / 255)
    value = report(result((-1,)), wanted)
    assert value.result("PGD", 0.03137254901960784) == wanted
    assert value.clean == wilson(1, 1)
    for attack, eps in (("PGD", 0.1), ("FGM", 0.1)):
        with pytest.raises(ValueError, match=r"not measured.*PGD"):
            value.result(attack, eps)


@pytest.mark.parametrize("wrong", [{"eps": -0.1}, {"rule": "first"}, {"broken_by": ("x",)}], ids=str)
def test_a_result_out_of_range_is_refused(wrong):
    with pytest.raises(ValidationError):
        Result.model_validate({**result((-1,)).model_dump(), **wrong})


def test_a_report_of_results_on_different_images_is_refused():
    with pytest.raises(ValidationError, match="one broken_by per image"):
        report(result((-1, -1)), result((-1,)))


def test_values_cannot_be_changed():
    with pytest.raises(ValidationError):
        Interval(value=0.5, low=0.0, high=1.0).value = 1.0


def test_a_report_says_which_edition_of_its_protocol_measured_it():
    """Reports from before protocols had editions are of the first."""
    old = changed(report(result((0, -1))), protocol="rigorous")
    assert Report.model_validate(old.model_dump(exclude={"edition"})).edition == 1
    assert old.ruler == "rigorous (edition 1, older protocol)"
    newest = PROTOCOLS["rigorous"].edition
    assert old.model_copy(update={"edition": newest}).ruler == f"rigorous (edition {newest})"
    assert changed(old, protocol="quick").ruler == "quick"
