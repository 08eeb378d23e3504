"""The page of performance is made of figures that are kept."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks import performance
from benchmarks.bench import Timing
from benchmarks.performance import AIMS, MEASURED, Aim

ROOT = Path(__file__).resolve().parents[1]

FIGURES = Timing("forward", plain=6.0, ours=2.0, floor=1.0, same=float("nan"), plain_bytes=4.0, ours_bytes=1.0)


def test_the_page_is_made_of_what_is_kept():
    assert (ROOT / "docs/performance.md").read_text() == performance.page()


def test_everything_is_measured_and_every_aim_is_of_something_measured():
    assert {name for name, _ in AIMS} <= set(MEASURED)
    for name, what in AIMS:
        assert what in performance.rows(name)
    for name, arguments in MEASURED.items():
        assert performance.read(name)["arguments"] == list(arguments), f"measure {name} again"


@pytest.mark.parametrize(
    ("aim", "told"),
    [
        (Aim("ratio", 3), "3 times plain: reached"),
        (Aim("ratio", 3.5), "3.5 times plain: missed"),
        (Aim("floors", 2), "2 floors: reached"),
        (Aim("floors", 1.5), "1.5 floors: missed"),
        (Aim("memory", 0.25), "0.25 of the memory: reached"),
        (Aim("memory", 0.2), "0.2 of the memory: missed"),
    ],
)
def test_an_aim_is_reached_or_missed(aim, told):
    assert aim.told(FIGURES, turns=3) == told
    assert aim.told(FIGURES, turns=1) == f"{told} in one turn"


def test_figures_are_kept_with_what_they_were_measured_with(tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "KEPT", tmp_path)

    def bench(command, check):
        assert check
        assert command[command.index("benchmarks.bench") + 1 : -2] == list(MEASURED["batch-4"])
        Path(command[-1]).write_text(json.dumps([vars(FIGURES)]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", bench)
    performance.main(["measure", "batch-4"])
    assert performance.rows("batch-4")["forward"].ratio == 3
    assert set(performance.read("batch-4")["versions"]) >= {"processor", "threads", "torch", "source"}


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        performance.main(["measure", "resnet"])
    assert "resnet20" in capsys.readouterr().err
