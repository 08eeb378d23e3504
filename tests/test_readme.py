"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

from robustsnn.evaluation import protocol
from robustsnn.recipes.recipe import from_toml

HOME = Path(__file__).parents[1]


def blocks(language, file="README.md"):
    return re.findall(rf"```{language}\n(.*?)```", (HOME / file).read_text(), re.S)


def test_python_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    """Twelve lines of it."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    assert "neurons" in capsys.readouterr().out
    assert sum(bool(line.strip()) for code in blocks("python") for line in code.splitlines()) == 12
    assert 0 <= names["report"].result("PGD-10", 0.1).robust.value <= names["report"].clean.value <= 1
    assert (names["snn"](names["adversarial"]).shape, names["snn"].steps(names["x"]).shape) == ((16, 10), (8, 16, 10))


def test_the_recipe_of_the_readme_is_one():
    (text,) = blocks("toml")
    recipe = from_toml(text, "README.md")
    assert (recipe.name, recipe.evaluation.eps, list(recipe.baselines)) == ("mine", (19 / 255, 38 / 255), ["natural"])


def test_the_protocol_of_the_guide_to_evaluation_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (own,) = blocks("toml", "docs/evaluate-your-own.md")
    Path("mine.toml").write_text(own)
    assert [str(group.attack.goal) for group in protocol("mine.toml").ensembles["mine"][:1]] == ["CrossEntropy()"]
