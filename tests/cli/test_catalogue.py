"""What is listed is what a recipe and a protocol file can read."""

from __future__ import annotations

import pytest

from robustsnn.cli.catalogue import KINDS
from robustsnn.evaluation import PUBLISHED_PATHS, STRONGER_PATHS, Group, protocol
from robustsnn.recipes.sections import Training


@pytest.mark.parametrize("text", [entry.written for entry in KINDS["attacks"]().values()])
def test_a_listed_attack_is_read_by_recipes_and_protocols(text, tmp_path):
    attack = Training(probe=text).attack()
    file = tmp_path / "own.toml"
    file.write_text(f'[[ensembles.mine]]\nattack = "{text}"\npaths = ["Plain"]\n')
    (group,) = protocol(str(file)).ensembles["mine"]
    assert group.attack == attack == type(attack)()


@pytest.mark.parametrize("kind", KINDS)
def test_descriptions_have_no_marks_of_docstrings(kind):
    assert [entry.about for entry in KINDS[kind]().values() if "`" in entry.about] == []


def test_listed_paths_are_read_by_protocols(tmp_path):
    paths = ", ".join(f'"{text}"' for text in KINDS["paths"]())
    file = tmp_path / "own.toml"
    file.write_text(f'[[ensembles.mine]]\nattack = "FGSM"\npaths = [{paths}]\n')
    (group,) = protocol(str(file)).ensembles["mine"]
    assert group == Group("FGSM", group.attack, (*PUBLISHED_PATHS, *STRONGER_PATHS))
