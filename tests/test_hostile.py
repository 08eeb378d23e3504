"""Whatever bytes are changed in what is read from disk: a clear refusal or a result. The long form is `mutate.py`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.recipes.recipe import Recipe, from_toml


def script(name):
    """A script of this folder as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def unchanged_environment(monkeypatch):
    """The script's variables end with the test."""
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def test_changed_bytes_are_refused_or_read(unchanged_environment, unchecked, capsys):
    mutate = script("mutate")
    assert mutate.main(inputs=150, seed=7) == 0
    said = capsys.readouterr().out
    for kind in ("recipe", "checkpoint", "weights", "training state", "evaluation state", "report", "command line"):
        assert f"{kind}: refused" in said


def test_a_crash_would_be_counted(unchanged_environment, unchecked, monkeypatch, capsys):
    mutate = script("mutate")

    def crash(path):
        raise KeyError(path)

    def samples(folder):
        (folder / "x.json").write_text("{}")
        unharmed = [folder / "x.json"]
        return {"report": (folder / "x.json", lambda given: unharmed.pop() if unharmed else crash(given))}

    monkeypatch.setattr(mutate, "samples", samples)
    assert mutate.main(inputs=20, seed=0) > 0
    assert "KeyError" in capsys.readouterr().out


WORDS = st.sampled_from(
    ["name", "seed", "data", "limit", "pretrain", "epochs", "objective", "evaluation", "eps", "baselines", "extends"]
)
ODD = ["true", '"digits"', '"8/255"', '"Trades(beta=6)"', '"1/0"', "1979-05-27", '"\\u0000"', "[]", "{}"]
VALUES = st.recursive(
    st.one_of(
        st.integers(-(2**70), 2**70).map(str),
        st.floats().map(str),
        st.sampled_from(ODD),
        st.text(max_size=8).map(lambda text: f"'{text}'"),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.dictionaries(WORDS, inner, max_size=3).map(lambda t: "{" + ", ".join(f"{k} = {v}" for k, v in t.items()) + "}")
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.lists(st.tuples(WORDS, VALUES), max_size=6), st.booleans())
def test_any_recipe_is_read_or_refused_in_a_line(lines, named):
    text = "\n".join([*(['name = "x"'] if named else []), *(f"{key} = {value}" for key, value in lines)])
    try:
        found = from_toml(text, "recipe")
    except ValueError as error:
        found = str(error).strip()
    assert found
    assert isinstance(found, Recipe | str)
