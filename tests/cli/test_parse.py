"""Flags: read by tyro, judged by the recipe, complained about in one line."""

from __future__ import annotations

import pytest

from robustsnn.cli.arguments import Evaluate
from robustsnn.cli.commands import read as command
from robustsnn.cli.parse import for_protocol, parse
from robustsnn.recipes import load_recipe

RECIPE = load_recipe("digits")


def read(*args):
    default = for_protocol(RECIPE.evaluation, args)
    return parse(Evaluate("x.safetensors", default), args, "robustsnn evaluate", RECIPE, "evaluation.").settings


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


@pytest.mark.parametrize(
    ("args", "trained"),
    [
        ((), True),
        (("--finetune.no-train-thresholds",), False),
        (("--finetune.train_thresholds", "false"), False),
        (("--finetune.train-thresholds", "False", "--seed", "3"), False),
        (("--finetune.train_thresholds", "true"), True),
    ],
    ids=str,
)
def test_a_switch_is_a_flag_or_takes_true_or_false(args, trained):
    assert command("run", ("digits", *args)).recipe.finetune.train_thresholds == trained


def test_a_word_that_is_no_value_of_a_switch_is_refused():
    with pytest.raises(ValueError, match="maybe"):
        command("run", ("digits", "--data.flip", "maybe"))
