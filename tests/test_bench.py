"""The benchmark compares things that compute the same, each in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from benchmarks.bench import ROWS, Case, Timing, bench, plain, worker
from benchmarks.bench import __main__ as command
from benchmarks.bench.forms import Floor
from benchmarks.bench.rows import FORMS

from robustsnn.evaluation import PUBLISHED_PATHS

pytestmark = pytest.mark.usefixtures("unchecked")

TINY = Case("resnet20", width=0.1, timesteps=2, batch=2, few=2)


def test_the_plain_form_computes_the_same(net, images):
    torch.testing.assert_close(plain(net)(images), net(images))


def test_the_floor_is_every_convolution_and_linear_once(net, images):
    floor = Floor(net, images)
    assert len(floor.calls) == 4
    assert [len(x) for _, x in floor.calls] == [6, 24, 24, 24]  # the first one before time begins
    floor.step()
    assert len(floor.calls) == 4


ENSEMBLES = [what for what in ROWS if what.endswith("-19")]


@pytest.mark.parametrize("what", [what for what in ROWS if what not in ENSEMBLES])
def test_every_row_has_every_form(what):
    forms = ROWS[what](TINY)
    assert set(forms) == set(FORMS)
    for form in forms.values():
        form()


@pytest.mark.parametrize("what", ENSEMBLES)
def test_ensembles_break_the_same_half_of_the_images_in_every_form(what, monkeypatch):
    monkeypatch.setattr("benchmarks.bench.rows.PUBLISHED_PATHS", PUBLISHED_PATHS[::6])
    forms = ROWS[what](Case("resnet20", width=0.25, timesteps=2, batch=8, few=8))
    assert set(forms) == set(FORMS)
    broken = forms["ours"]()
    assert not broken[::2].any()
    assert broken[1::2].any()
    assert torch.equal(forms["plain"](), broken)
    forms["floor"]()


@pytest.mark.parametrize("what", ["finetuning", "adversarial training", "FGSM-19"])
def test_dropout_draws_nothing_from_the_global_generator(what, monkeypatch):
    monkeypatch.setattr("benchmarks.bench.rows.PUBLISHED_PATHS", ())
    before = torch.get_rng_state()
    for form in ROWS[what](replace(TINY, network="vgg11", width=0.02)).values():
        form()
    assert torch.equal(torch.get_rng_state(), before)


def test_figures_come_from_processes_that_take_turns():
    (timing,) = bench(TINY, ["forward"], repeats=1)
    assert timing.what == "forward"
    assert min(timing.plain, timing.ours, timing.floor) > 0
    assert timing.plain_bytes >= 0


def test_the_command_keeps_its_figures(tmp_path, capsys, monkeypatch):
    figures = (2.0, 1.0, 0.5, 1.0, 0.0, 0.0)
    monkeypatch.setattr(command, "bench", lambda case, rows, repeats: [Timing(row, *figures) for row in rows])
    out = tmp_path / "figures.json"
    flags = [
        "--networks",
        "resnet20",
        "--rows",
        "forward",
        "--repeats",
        "1",
        "--width",
        "0.1",
        "--batch",
        "2",
        "--timesteps",
        "2",
    ]
    command.main([*flags, "--out", str(out)])
    assert "ours/floor" in capsys.readouterr().out
    assert json.loads(out.read_text())[0]["what"] == "forward"


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match=r"forwards.*forward"):
        next(bench(TINY, ["forwards"]))


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the system does not tell peaks of memory")
def test_the_peak_is_that_of_what_ran_since():
    """In a process of its own: another one's free memory may be enough."""
    program = (
        "from benchmarks.bench.worker import held, peak; before = held('cpu'); block = bytearray(50 << 20); del block; "
        "raise SystemExit(peak('cpu') - before < 40 << 20)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=worker.HOME).returncode == 0
