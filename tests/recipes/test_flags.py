"""Flags: read by tyro, judged by the recipe, complained about in one line."""

from __future__ import annotations

import pytest

from robustsnn.evaluation import evaluate
from robustsnn.recipes import load_recipe
from robustsnn.recipes.flags import for_protocol, parse
from robustsnn.recipes.sections import Evaluation

RECIPE = load_recipe("digits")


def read(*args):
    default = for_protocol(RECIPE.evaluation, args)
    return parse(Evaluation, default, args, "robustsnn evaluate", RECIPE, "evaluation.")


def test_flags_change_what_they_name_and_nothing_else():
    found = read("--eps", "8/255", "0.1", "--limit", "7")
    assert found == RECIPE.evaluation.model_copy(update={"eps": (8 / 255, 0.1), "limit": 7})


@pytest.mark.parametrize(
    ("args", "attacks"),
    [
        ((), RECIPE.evaluation.attacks),
        (("--protocol", "quick"), ()),
        (("--protocol", "quick", "--attacks", "FGSM"), ("FGSM",)),
    ],
)
def test_another_protocol_runs_all_its_attacks_unless_some_are_named(args, attacks):
    assert read(*args).attacks == attacks


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--eps", "0.05", "--lmit", "10"), r"unknown key 'evaluation\.lmit': did you mean 'limit'"),
        (("--eps", "8"), "at most 1.*8/255"),
        (("--eps", "0.1", "-0.1"), "at least 0"),
        (("--limit", "0"), r"evaluation\.limit"),
    ],
)
def test_a_wrong_flag_is_named_wherever_it_stands(args, line):
    with pytest.raises(ValueError, match=line) as caught:
        read(*args)
    assert "\n" not in str(caught.value)


def test_an_eps_beyond_the_pixels_is_refused_in_python_too(net, images, labels):
    from robustsnn.data import Images

    with pytest.raises(ValueError, match=r"in \[0, 1\].*not 8"):
        evaluate(net, Images(images, labels, 4), "quick", eps=8)
