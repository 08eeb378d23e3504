"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

from robustsnn.evaluation import protocol

HOME = Path(__file__).parents[1]


def blocks(language, file="README.md"):
    return re.findall(rf"```{language}\n(.*?)```", (HOME / file).read_text(), re.S)


def test_python_of_the_readme_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,), names = blocks("python"), {}
    exec(compile(code, "README.md", "exec"), names)
    report = names["report"]
    assert capsys.readouterr().out == f"{report}\n"
    assert 0 <= report.worst(0.1).value <= report.clean.value <= 1
    assert report.audit
    assert names["adversarial"].shape == names["x"].shape == (8, 1, 8, 8)


def test_the_readme_is_read_in_minutes():
    assert len((HOME / "README.md").read_text().splitlines()) <= 120


def test_the_protocol_of_the_guide_to_evaluation_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (own,) = blocks("toml", "docs/evaluate-your-own.md")
    Path("mine.toml").write_text(own)
    assert [str(group.attack.goal) for group in protocol("mine.toml").ensembles["mine"][:1]] == ["CrossEntropy()"]
