"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.S)


@pytest.mark.parametrize("code", BLOCKS)
def test_python_of_the_readme_runs(code, capsys):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert 0 <= names["report"].results[0].robust.value <= names["report"].clean.value <= 1
    assert "torch.Size([8, 64, 10])" in capsys.readouterr().out


def test_the_readme_shows_python():
    assert BLOCKS
