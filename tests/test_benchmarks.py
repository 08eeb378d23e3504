"""The scripts that make the page of results: rows are made by the command line, kept, never made twice, and become tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks import (
    answer,
    claim,
    compared,
    demo,
    gpu_results,
    measured,
    older_page,
    pages,
    plan,
    results,
    results_page,
    tables,
)
from benchmarks.older_plan import EXPERIMENTS
from benchmarks.plan import NEW
from benchmarks.rows import Row

from composed import changed
from real import REAL, real
from robustsnn import cli
from robustsnn.cli.arguments import Run
from robustsnn.cli.parse import parse
from robustsnn.data.sources import HERE
from robustsnn.evaluation import PROTOCOLS, Check, Protocol, Result, percent, wilson
from robustsnn.recipes import load_recipe
from robustsnn.recipes.stages import STAGES, shaped_by
from robustsnn.reporting import Row as ReportRow
from robustsnn.reporting import different, read_report

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures("unchecked")

SMALL = """
extends = "digits"
timesteps = 2
compare = []
data = { limit = 60 }
pretrain = { epochs = 2, probe = "" }
finetune = { epochs = 1, probe = "" }
conversion = { timesteps = 3, batches = 1 }
evaluation = { protocol = "quick", attacks = ["FGSM"], limit = 6, audit_images = 0, audit_steps = 5, audit_queries = 5 }
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a small recipe, ``small.toml``."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.toml").write_text(SMALL)
    return folder


def gpu(small, minutes):
    """The command as a user gives it, but in this process."""
    how = ["--width", "0.25", "--networks", str(small / "small.toml"), "--measures", "whole"]
    gpu_results.main(["--minutes", str(minutes), *how, "--out", str(small / "runs"), "--kept", str(small / "kept")])


def here(work, *args):
    """A row's command in this process, which need not import torch again."""
    with pytest.MonkeyPatch.context() as patch:
        work.out.mkdir(parents=True, exist_ok=True)
        patch.chdir(work.out)
        assert cli.main(args) == 0


@pytest.fixture(scope="module")
def kept(small):
    """What the smoke run keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results.Work, "command", here)
        gpu(small, 1000)
    return small / "kept/gpu_small-0"


def test_the_gpu_command_keeps_what_it_found_and_does_nothing_twice(small, kept, capsys):
    report = read_report((kept / "whole.json").read_bytes(), kept)
    assert report.rows[0].report.images == 6
    assert report.recipe["model"]["width"] == 0.25
    assert report.recipe["pretrain"]["epochs"] == 2
    made = json.loads((kept / "made.json").read_text())
    assert all(seconds > 0 for seconds in made["processor_seconds"].values())
    before = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    gpu(small, 1000)
    assert capsys.readouterr().out == ""
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == before


def planned(monkeypatch, rows):
    """A plan of these rows."""
    for module in (claim, measured, older_page, plan, results, tables):
        monkeypatch.setattr(module, "PLAN", rows)


def test_rows_start_from_the_ann_that_was_kept(small, tmp_path, monkeypatch):
    recipe = str(small / "small.toml")
    rows = {
        "base": Row("", recipe),
        "other": Row("", recipe, network="converted", source="base", measures=("whole",)),
    }
    planned(monkeypatch, rows)
    asked = []
    monkeypatch.setattr(results.Work, "command", lambda work, *args: (asked.append(args), here(work, *args)))
    results.Work(tmp_path / "one", kept=tmp_path / "kept").make("other", rows["other"], 0)
    rows["other"] = replace(rows["other"], measures=("whole", "again"))
    monkeypatch.setitem(results.MEASURES, "again", results.MEASURES["whole"])
    results.Work(tmp_path / "two", kept=tmp_path / "kept").make("other", rows["other"], 0)
    ann, *copies = [path.read_bytes() for path in tmp_path.rglob("ann.safetensors")]
    assert len(copies) == 3
    assert set(copies) == {ann}
    assert sum("base-0" in args for args in asked) == 1, "one training serves both"
    measured = [args[-1] for args in asked if args[0] == "evaluate"]
    assert measured == [f"other-0/converted-{name}" for name in ("whole", "whole", "again")], "a new network is measured anew"


def test_a_command_is_one_of_robustsnn_in_the_folder_of_the_rows(tmp_path, capfd):
    results.Work(tmp_path / "rows").command("completion", "bash")
    assert "robustsnn completion bash" in capfd.readouterr().out
    with pytest.raises(SystemExit, match=r"robustsnn info none\.safetensors ended with 2"):
        results.Work(tmp_path / "rows").command("info", "none.safetensors")


def test_a_command_ends_when_time_is_up(tmp_path):
    with pytest.raises(results.TimeIsUp):
        results.Work(tmp_path, until=0.0).command("list", "recipes")


def test_a_command_ends_with_the_script_that_gave_it(tmp_path, monkeypatch):
    given = []

    class Known(subprocess.Popen):
        def wait(self, timeout=None):
            if self not in given:
                given.append(self)
                os.kill(os.getpid(), signal.SIGTERM)
            return super().wait(timeout)

    monkeypatch.setattr(results.subprocess, "Popen", Known)
    before = signal.signal(signal.SIGTERM, results.stop)
    try:
        with pytest.raises(SystemExit, match="143"):
            results.Work(tmp_path).command("list", "recipes")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert given[0].poll() is not None


@pytest.mark.parametrize(
    ("there", "name", "trained"),
    [
        ((), "main", ["main-0 pretrain", "main-0 staircase", "main-0 finetune"]),
        (("ann",), "main", ["main-0 staircase", "main-0 finetune"]),
        (("ann", "staircase"), "main", ["main-0 finetune"]),
        (("ann", "staircase"), "main_ann", []),
        ((), "hard_reset", ["small-0 pretrain", "hard_reset-0 finetune"]),
        ((), "small_converted", ["small-0 pretrain", "small-0 staircase", "small_converted-0 convert"]),
        ((), "end_to_end_soft", ["end_to_end_soft-0 finetune"]),
    ],
)
def test_what_is_kept_of_the_main_row_is_not_trained(there, name, trained, tmp_path, monkeypatch):
    """The commands of robustsnn are told, and do nothing but leave their file."""
    asked = []

    def command(work, action, *args):
        if action == "evaluate":
            results.write_atomic(work.out / args[-1] / "report.json", b"{}")
            return
        until, folder = args[args.index("--until") + 1], args[args.index("--out") + 1]
        file = work.out / folder / f"{STAGES[until].makes}.safetensors"
        if not file.is_file():
            asked.append(f"{folder} {until}")
            results.write_atomic(file, until.encode())

    monkeypatch.setattr(results.Work, "command", command)
    monkeypatch.setattr(results, "made", lambda *_: {})
    for network in there:
        results.write_atomic(tmp_path / f"kept/main-0/{network}.safetensors", b"kept")
    results.Work(tmp_path / "runs", kept=tmp_path / "kept").make(name, results.PLAN[name], 0)
    assert asked == trained
    assert all((tmp_path / f"kept/{name}-0/{measure}.json").is_file() for measure in results.PLAN[name].measures)
    ann = tmp_path / "runs" / f"{name}-0" / "ann.safetensors"
    assert name == "end_to_end_soft" or ann.read_bytes() == (b"kept" if there else b"pretrain")


def test_a_row_may_run_the_network_of_another_for_more_steps(small, kept, tmp_path, monkeypatch):
    """Without any training: ANN and network are kept."""
    recipe = str(small / "small.toml")
    rows = {
        "base": Row("", recipe),
        "longer": Row("", recipe, source="base", takes=("ann", "snn"), timesteps=5, measures=("whole",)),
    }
    planned(monkeypatch, rows)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/base-0").symlink_to(small / "runs/gpu_small-0")
    asked = []
    monkeypatch.setattr(results.Work, "command", lambda work, *args: (asked.append(args[0]), here(work, *args)))
    results.Work(tmp_path / "runs", kept=tmp_path / "kept").make("longer", rows["longer"], 0)
    report = read_report((tmp_path / "kept/longer-0/whole.json").read_bytes(), "")
    assert asked == ["evaluate"]
    assert report.rows[0].report.timesteps == 5
    assert set(json.loads((tmp_path / "kept/longer-0/made.json").read_text())["processor_seconds"]) == {"pretrain", "finetune"}


@real
def test_the_gpu_command_fills_three_minutes_of_a_processor(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_results", "--minutes", "3", "--width", "0.25"]
    command += ["--networks", "cifar10-vgg11"]
    folders = {"--out": tmp_path / "runs", "--kept": tmp_path / "kept"}
    flags = [text for flag, folder in folders.items() for text in (flag, str(folder))]
    ended = subprocess.run(
        [*command, *flags],
        cwd=ROOT,
        env={**os.environ, HERE: str(REAL), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    assert "time is up: the same command goes on" in ended.stdout
    planned = [json.loads(plan.read_text()) for plan in sorted((tmp_path / "runs").glob("*.json"))]
    assert planned
    assert all(set(plan) <= set(gpu_results.STAGES) and min(plan.values()) >= 1 for plan in planned)
    assert list((tmp_path / "runs/gpu_cifar10-vgg11-0").glob("ann.*")), "there is nothing to go on from"


def test_the_gpu_recipe_is_ours_on_another_network(tmp_path):
    (tmp_path / "wide.toml").write_bytes(gpu_results.wide().toml())
    wide, ours = load_recipe(str(tmp_path / "wide.toml")), load_recipe("cifar10-robust")
    assert wide == gpu_results.wide()
    assert wide.model.name == "wideresnet16_4"
    assert set(different(wide.table(), ours.table())) >= {"name", "model.name", "pretrain.epochs", "finetune.epochs"}
    assert wide.pretrain.objective == ours.pretrain.objective
    for stage, changes in gpu_results.STAGES.items():
        assert {name: getattr(getattr(wide, stage), name) for name in changes} == changes


def test_a_schedule_fits_its_time(small):
    long, short = (gpu_results.schedule(str(small / "small.toml"), 0.25, seconds) for seconds in (1e6, 1e-3))
    assert long == {"pretrain": 2, "finetune": 1}
    assert short == {"pretrain": 1, "finetune": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "robbust"], "unknown rows robbust: choose from main"),
        (["run", "robust", "--seeds", "7"], "row robust has seeds 0, 1"),
        (["run", "main", "--kept", __file__], "is a file: give a folder"),
        (["run", "main", "--out", __file__], "is a file: give a folder"),
        (["run", "main", "--minutes", "-1"], "must be more than 0, not -1"),
        (["run", "robust"], "rows robust are kept as an older protocol measured them"),
        (["page", "robust"], "give no rows"),
        (["page", "--kept", "elsewhere"], "no other folder"),
    ],
)
def test_what_cannot_be_done_is_said_first(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        results.main(arguments)
    assert said in capsys.readouterr().err


def test_the_list_needs_no_reader(unread):
    with unread("stdout"):
        results.main(["list"])


def test_the_list_says_what_is_there(tmp_path, capsys):
    (tmp_path / "robust-0").mkdir()
    (tmp_path / "robust-0/paper.json").touch()
    results.main(["list", "robust", "--kept", str(tmp_path)])
    one, other = capsys.readouterr().out.splitlines()
    assert "seed 0  1 of 4 measures" in one
    assert "seed 1  0 of 4 measures" in other


def made_by(row):
    """The recipe of a row, its flags taken."""
    recipe = load_recipe(row.recipe)
    return parse(Run(row.recipe, recipe), row.changes, "robustsnn run", recipe).recipe


@pytest.mark.parametrize("name", results.PLAN)
def test_a_row_is_a_recipe(name):
    row = results.PLAN[name]
    made_by(row)
    assert set(row.measures) <= set(results.MEASURES)
    assert bool(row.predicted) == (name in EXPERIMENTS or name in NEW)
    assert "--limit" in results.MEASURES[row.measures[0]]


@pytest.mark.parametrize("name", [name for name, row in results.PLAN.items() if row.source])
def test_a_row_takes_only_what_its_recipe_would_make(name):
    row, source = results.PLAN[name], results.PLAN[results.PLAN[name].source]
    assert not source.source
    assert set(row.seeds) <= set(source.seeds)
    ours, theirs = (made_by(each).table() for each in (row, source))
    for network in row.takes:
        assert {key: ours.get(key) for key in shaped_by(network)} == {key: theirs.get(key) for key in shaped_by(network)}


FLAGS = {
    "robust": (-1, -1, -1, -2, 0, 0),
    "end_to_end": (-1, 0, 0, -2, -2, 0),
    "faster": (-1, -1, -1, -1, 0, 0),
    "awp": (-1, 0, -1, 0, 0, 0),
}
"""What attacks left of four networks, by hand."""


def keep(folder, kept, name, measures, flags, attack="PGD-20", edition=1):
    """A row of which attacks left that, by measure."""
    report = read_report((kept / "whole.json").read_bytes(), kept)
    (row,) = report.rows
    (folder / f"{name}-0").mkdir(exist_ok=True)
    for measure, eps in measures.items():
        result = Result(attack=attack, eps=eps, rule="last", members=("one",), broken_by=flags)
        found = changed(row.report, protocol="rigorous", edition=edition, results=(result,), images=len(flags))
        text = report.model_copy(update={"rows": (row.model_copy(update={"report": found}),)}).to_json()
        (folder / f"{name}-0/{measure}.json").write_bytes(text)
    (folder / f"{name}-0/made.json").write_bytes((kept / "made.json").read_bytes())


def test_reports_become_the_older_page(kept, monkeypatch):
    rows = {name: Row(name, measures=("whole",)) for name in ("gpu_small", "never_made")}
    planned(monkeypatch, rows)
    monkeypatch.setattr(older_page, "MAIN", rows)
    for table in ("ABLATIONS", "EXPERIMENTS"):
        monkeypatch.setattr(older_page, table, {})
    monkeypatch.setattr(measured, "KEPT", kept.parent)
    page = older_page.page()
    report = read_report((kept / "whole.json").read_bytes(), kept).rows[0].report
    assert f"| gpu_small | 0 | {percent(report.clean)} |" in page
    assert "never_made" not in page


@pytest.fixture
def page(kept, tmp_path, monkeypatch):
    """The older page of four rows."""
    rows = {name: Row(name, measures=("whole",), predicted="more") for name in FLAGS}
    for name, flags in FLAGS.items():
        keep(tmp_path, kept, name, {"whole": 8 / 255}, flags)
    planned(monkeypatch, rows)
    for table, names in {"MAIN": ("robust", "end_to_end"), "EXPERIMENTS": ("faster",), "ABLATIONS": ("awp",)}.items():
        monkeypatch.setattr(older_page, table, {name: rows[name] for name in names})
    monkeypatch.setattr(measured, "KEPT", tmp_path)
    return older_page.page()


MAIN_FLAGS = {"main_ann": (-1, -1, -1, -1, -1, -2), "main": (-1, -1, -1, 0, 0, -2), "snn_rat_soft": (-1, 0, 0, 0, -2, -2)}
"""What the strictest protocol left of three networks, by hand."""


@pytest.fixture
def three(kept, tmp_path, monkeypatch):
    """Three rows of the page of results, at the headline radius."""
    monkeypatch.setattr(measured, "KEPT", tmp_path)
    for name, flags in MAIN_FLAGS.items():
        keep(tmp_path, kept, name, {"rigorous": 8 / 255}, flags, "rigorous", edition=PROTOCOLS["rigorous"].edition)
    return tmp_path


def test_retention_is_what_spiking_leaves_of_the_ann(three):
    page = results_page.page()
    line = "| our spiking network | 83.3 (43.6-97.0) | - | 50.0 (18.8-81.2) | - | 0.60 |"
    assert page.count(line) == 2, "in the first table and in the one of all networks"
    assert "| retention at 8/255 | 0 | 0.70 | 0.600 | missed |" in page
    assert "| robust accuracy at 8/255 | 0 | 0.25 | 0.500 | reached |" in page
    assert "| retention at 2/255 | 0 | 0.85 | - | not measured |" in page
    assert "Audit:" not in page, "there was none"
    assert line in results_page.short()
    assert all(row.what not in page for name, row in NEW.items() if name not in MAIN_FLAGS), (
        "what is not measured does not appear"
    )


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ((), ""),
        (("pass", "pass"), "Audit: all checks pass."),
        (("pass", "fail"), "Audit: `loss` fails (0.5); all other checks pass."),
    ],
)
def test_an_audit_passes_only_where_there_was_one(verdicts, said):
    checks = [Check(name="loss", figure=0.5, verdict=verdict, meaning="") for verdict in verdicts]
    runs = {"rigorous": SimpleNamespace(rows=[SimpleNamespace(report=SimpleNamespace(audit=checks))])}
    assert results_page.audited(SimpleNamespace(runs=runs)) == said


def test_retention_never_mixes_editions(three, kept):
    keep(three, kept, "main_ann", {"rigorous": 8 / 255}, MAIN_FLAGS["main_ann"], "rigorous", edition=1)
    with pytest.raises(ValueError, match="were measured otherwise"):
        results_page.page()


def test_a_figure_of_an_older_edition_says_so(three, kept):
    keep(three, kept, "main", {"rigorous": 8 / 255}, MAIN_FLAGS["main"], "rigorous", edition=1)
    keep(three, kept, "main_ann", {"rigorous": 8 / 255}, MAIN_FLAGS["main_ann"], "rigorous", edition=1)
    assert "| our spiking network | 83.3 (43.6-97.0) | - | 50.0 (18.8-81.2), edition 1 | - | 0.60 |" in results_page.page()


def test_the_first_tables_have_at_most_five_rows():
    assert len(results_page.SHORT) <= 5
    assert len(results_page.OLDER) <= 5
    assert set(results_page.SHORT) <= set(NEW)


def test_a_page_without_reports_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "KEPT", tmp_path)
    assert "No network of the recipe `cifar10-robust` is measured yet" in results_page.page()


def test_differences_are_those_of_the_same_images(page):
    """Over six images, by hand: two that one withstands and the other does not, and one that the other misses clean."""
    row = "| robust conversion | end-to-end robust training | 0 | +16.7 ± 33.5 (1:0) | - | +33.3 ± 38.7 (2:0) | - | - |"
    assert row in page
    kinds = "not significant (seed 0) | - | not significant (seed 0) | - | -"
    assert f"| robust conversion | end-to-end robust training | {kinds} |" in page
    assert "| faster | more | 100.0 (61.0-100.0) | 66.7 (30.0-90.3) | +16.7 ± 33.5 (1:0) | +16.7 ± 33.5 (1:0) | yes |" in page
    assert "1 of 1 experiments reached the aim" in page
    assert f"| awp | robust conversion | {kinds} |" in page


@pytest.mark.parametrize(
    ("won", "lost", "verdict", "half"),
    [(0, 0, "not significant", 0.390), (5, 0, "not significant", 0.952), (6, 0, "more", 1.028), (0, 6, "less", 1.028)],
)
def test_what_few_images_can_tell(won, lost, verdict, half):
    """Five coins all fall alike with a chance of 1/16, six with 1/32. The intervals have half images added."""
    found = compared.Gain(won, lost, 500)
    assert found.verdict == verdict
    assert found.points == (won - lost) / 5
    assert found.half == pytest.approx(half, abs=1e-3)


def test_seeds_may_disagree(monkeypatch):
    differences = {0: compared.Gain(9, 0, 50), 1: compared.Gain(1, 0, 50), 2: None}
    monkeypatch.setattr(claim, "gain", lambda one, other, by: differences[one.seed])
    found = claim.outcomes([(SimpleNamespace(seed=seed), None) for seed in differences], ("PGD-20", 0.1))
    assert found == "more (seed 0), not significant (seed 1)"


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        ({("a", "b", 0): "more", ("a", "b", 1): "more", ("c", "d", 0): "more", ("c", "d", 1): "more"}, ("more robust", 2)),
        ({("a", "b", 0): "more", ("a", "b", 1): "more", ("c", "d", 0): "more"}, ("more robust", 1)),
        ({("a", "b", 0): "more", ("a", "b", 1): "more", ("e", "f", 0): "less"}, ("more robust", 2)),
        ({("a", "b", 0): "more", ("c", "d", 0): "not significant"}, ("not shown", 1)),
        ({("a", "b", 0): "more", ("a", "b", 1): "less"}, ("not shown", 2)),
        ({("a", "b", 0): "less", ("c", "d", 0): "not significant"}, ("not shown", 1)),
        ({("a", "b", 0): "less", ("c", "d", 0): "less"}, ("less robust", 1)),
        ({}, claim.OPEN),
    ],
)
def test_a_part_of_the_claim_is_judged_over_all_its_pairs_and_seeds(told, standing):
    part = claim.Part("", judged=(("a", "b"), ("c", "d")), shown=(("e", "f"),))
    assert part.standing(told) == standing


def test_the_verdicts_of_the_claim_are_taken_together(monkeypatch):
    """Six coins that fall alike have p = 1/32, which is one of three tests too many for 5 %; nine have 1/256, which is not."""
    won = {("a", "b"): 9, ("c", "d"): 6, ("e", "f"): 6}
    parts = tuple(claim.Part("", judged=(names,)) for names in won)
    monkeypatch.setattr(claim, "seeds", lambda *names: [tuple(SimpleNamespace(name=name, seed=0) for name in names)])
    monkeypatch.setattr(claim, "gain", lambda one, other, by: compared.Gain(won[one.name, other.name], 0, 50))
    assert [*claim.judged(parts, ("PGD-20", 0.1)).values()] == ["more", "not significant", "not significant"]
    assert [*claim.judged(parts[1:2], ("PGD-20", 0.1)).values()] == ["more"]


def test_what_a_part_means_for_clean_accuracy_is_said(monkeypatch):
    part = claim.Part("", judged=(("a", "b"),))
    monkeypatch.setattr(claim, "seeds", lambda *names: [names])
    for won, lost, holds, else_ in ((2, 10, "16.0 points lower", "-"), (5, 5, "-", "-"), (10, 2, "-", "16.0 points higher")):
        monkeypatch.setattr(claim, "gain", lambda *_, found=compared.Gain(won, lost, 50): found)
        assert (claim.beside(part, True), claim.beside(part, False)) == (holds, else_)
    monkeypatch.setattr(claim, "gain", lambda *_: None)
    assert claim.beside(part, True) == claim.beside(part, False) == "-"


def test_a_gain_is_that_of_the_images_asked_for_where_both_have_them():
    one, other, odd = (
        SimpleNamespace(
            name=way, seed=0, right=lambda *_, flags=flags: [flag > 0 for flag in flags], way=lambda *_, way=way: way
        )
        for flags, way in (([0, 0, 1, 1], "last"), ([0, 0, 1, 0, 1], "last"), ([0, 0, 1, 1], "any"))
    )
    assert compared.gain(one, other, images=slice(0, 2)) == compared.Gain(0, 0, 2)
    assert compared.gain(one, other, images=slice(2, None)) == compared.Gain(1, 0, 2)
    assert compared.gain(one, other, images=slice(4, 6)) is None
    with pytest.raises(ValueError, match="last-0 and any-0 were measured otherwise"):
        compared.gain(one, odd)


def test_a_figure_is_that_of_the_most_images():
    """A row's audit at a radius looks at fewer than its figure."""
    few, many = (
        Result(attack="rigorous", eps=0.1, rule="any", members=("one",), broken_by=flags) for flags in ((-1,), (0, -1))
    )
    row = measured.Measured("robust", 0)
    row.__dict__["runs"] = {  # what it would read from files
        name: SimpleNamespace(rows=[SimpleNamespace(report=SimpleNamespace(results=[result], images=len(result.broken_by)))])
        for name, result in (("audit", few), ("figure", many))
    }
    assert row.result("rigorous", 0.1) == many
    assert row.result("rigorous", 0.2) is None


def test_the_ends_of_what_the_strictest_protocol_leaves():
    rows = [SimpleNamespace(share=lambda attack, share=share: share) for share in (wilson(2, 4), None, wilson(0, 4))]
    assert compared.strictest(rows) == (wilson(0, 4), wilson(2, 4))
    assert compared.strictest(rows[:2]) is None


def test_an_attack_is_told_by_what_it_broke_along_all_its_paths():
    members = ("PGD-20 along Rate()", "PGD-20 along Analog()", "Square-5 along Rate()")
    result = Result(attack="rigorous", eps=0.1, rule="any", members=members, broken_by=(0, 1, 1, -1, -2))
    row = SimpleNamespace(result=lambda attack, eps: result)
    assert compared.broken(row, "rigorous", 0.1) == "PGD-20 3, Square-5 0"


def test_the_page_is_that_of_the_reports():
    """Nobody types a figure."""
    assert (ROOT / "docs/results.md").read_text() == results_page.page()
    assert (ROOT / "docs/results-older.md").read_text() == older_page.page()
    text = (ROOT / "README.md").read_text()
    assert text == results_page.readme(text)


@pytest.mark.parametrize("text", ["", "<!-- a -->\n<!-- a -->\n<!-- end of a -->", "<!-- a -->\n"])
def test_a_page_without_its_marks_is_refused(text):
    with pytest.raises(ValueError, match="must have one pair of marks '<!-- a -->'"):
        pages.marked(text, "a", "said")


def test_between_marks_all_is_made_anew():
    text = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter"
    assert pages.marked(text, "a", "new") == "before\n<!-- a -->\nnew\n<!-- end of a -->\nafter"


def test_the_demo_is_kept_without_pictures_and_told(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "KEPT", tmp_path / "kept")
    report = read_report((kept / "whole.json").read_bytes(), kept)
    flags = {
        "robust ANN": (-1, -1, -1, -2),
        "robust SNN, converted": (-1, 0, 0, -2),
        "robust SNN, finetuned": (-1, -1, 0, -2),
        "natural SNN, finetuned": (-1, 0, 0, 0),
    }
    checks = (Check(name="restarts", figure=0.125, verdict="fail", meaning="share of images"),)

    def measured(flags, **more):
        results = [Result(attack="PGD-20", eps=eps, rule="last", members=("one",), broken_by=flags) for eps in more.pop("eps")]
        return changed(report.rows[0].report, images=len(flags), results=results, **more)

    rows = [ReportRow(network=name, report=measured(broken, eps=(0.1, 0.15), audit=checks)) for name, broken in flags.items()]
    few = [ReportRow(network="snn", report=measured((-1, 0), eps=(0.15,)))]
    for name, found in (("run", rows), ("rigorous", few)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_bytes(report.model_copy(update={"rows": tuple(found)}).to_json())
    demo.main([str(tmp_path / "run"), str(tmp_path / "rigorous")])
    text = demo.said(demo.read("run"), demo.read("rigorous"))
    assert "| robust SNN, finetuned | 75.0 (30.1-95.4) | 50.0" in text
    assert "network keeps 0.33 of the ANN's, and the finetuned network keeps 0.67." in text
    assert "The naturally trained one has 25.0 %." in text
    assert "The audit of the finetuned network reports: `restarts` fails (share of images: 0.12)." in text
    assert "50.0 % of 2 test images survive it at ε=0.15, against 50.0 % for the attacks above." in text
    assert all("examples" not in row.report.measured for row in demo.read("run").rows)


def test_an_answer_is_asked_for_by_the_same_attacks_in_another_order():
    before, now, less = (order.ensembles["rigorous"] for order in answer.ORDERS.values())
    kept = [group for group in now if not group.transfers]
    assert {(group.name, group.paths) for group in before} == {(group.name, group.paths) for group in kept}
    assert all(getattr(group.attack, "give_up", 1.0) == group.give_up == 1.0 for group in before)
    assert (before[0].name, now[0].name, less[0].name) == ("PGD-20", "SA-PGD-100", "SA-PGD-100")
    assert [group.give_up for group in less] == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.35, 0.35, 1, 1]


def test_an_answer_costs_what_its_members_took():
    asked = replace(answer.NETWORKS["digits"], images=6)
    few = Protocol({"strong": PROTOCOLS["quick"].ensembles["strong"]}, "any")
    told = answer.ask(asked, few)
    assert told["images"] == 6
    assert 0 < told["broken"] <= told["clean"] <= 6
    assert told["gradients"] <= 6 * (30 + 20)
    assert told["processor_seconds"] > 0
