"""A run in a folder: every file appears, nothing is done twice, and what does not fit is refused before it costs anything."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from robustsnn.checkpoint import load, read_header
from robustsnn.data import Samples
from robustsnn.files import read_tensors
from robustsnn.processes import Team
from robustsnn.recipes import STAGES, Listener, making, measuring, plan, run_all
from robustsnn.recipes.recipe import from_table, from_toml
from robustsnn.recipes.working import Run
from robustsnn.reporting import markdown, read_report

pytestmark = pytest.mark.usefixtures("unchecked")

TRAINING = {"epochs": 2, "batch": 32, "probe": "FGSM()"}
NATURAL = {"objective": "Natural()", "probe": ""}
TINY = {
    "name": "tiny",
    "timesteps": 2,
    "data": {"limit": 120},
    "model": {"width": 0.25},
    "pretrain": TRAINING | {"objective": "Adversarial(eps=0.1, steps=2)", "lr": 0.05},
    "conversion": {"timesteps": 4, "batches": 2},
    "finetune": TRAINING | {"objective": "RobustFinetuning(eps=0.1, alpha=0.05)", "lr": 0.01},
    "evaluation": {"protocol": "quick", "attacks": ["FGSM"], "eps": [0.1], "limit": 20, "audit_images": 0},
    "baselines": {"natural": {"pretrain": NATURAL, "finetune": NATURAL}},
}
ROWS = ["robust ANN", "robust SNN, converted", "robust SNN, finetuned", "natural SNN, finetuned"]
CHECKPOINTS = ["ann.safetensors", "converted.safetensors", "snn.safetensors"]


def merged(table, changes):
    return table | {k: merged(table[k], v) if isinstance(v, dict) and k in table else v for k, v in changes.items()}


def tiny(out, **changes):
    return Run(from_table(merged(TINY, changes), "test"), Path(out))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run, for looking only."""
    out = tmp_path_factory.mktemp("finished")
    run_all(tiny(out))
    return out


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def untimed(report):
    """The results without what they took."""
    return [result.model_copy(update={"seconds": ()}) for result in report.results]


def accuracies(report):
    return [(row.network, untimed(row.report), row.report.measured["layers"]) for row in report.rows]


def test_a_run_leaves_these_files_and_no_others(finished):
    own = {"recipe.toml", "metrics.jsonl", *CHECKPOINTS}
    reports = {"report.json", "report.md", "report.html"}
    assert set(files(finished)) == own | reports | {f"natural/{name}" for name in own}


def test_the_folder_says_by_what_recipe_it_was_made(finished):
    run = tiny(finished)
    assert from_toml((finished / "recipe.toml").read_text(), "there") == run.recipe
    assert from_toml((finished / "natural/recipe.toml").read_text(), "there") == run.recipe.baseline("natural")
    for name in CHECKPOINTS:
        header = read_header(finished / name)
        assert header.kind == ("ann" if name == "ann.safetensors" else "snn")
        assert from_table(header.recipe, "there").finetune == run.recipe.finetune


def test_the_networks_are_what_the_recipe_asked_for(finished):
    converted, snn = (load(finished / f"{name}.safetensors") for name in ("converted", "snn"))
    assert converted.dynamics == snn.dynamics == tiny(finished).recipe.dynamics()
    calibrated = read_header(finished / "converted.safetensors").metrics["thresholds"]
    assert {n: t.item() for n, t in converted.thresholds.items()} == pytest.approx({n: 0.3 * t for n, t in calibrated.items()})
    assert all(t.item() >= 0.03 - 1e-7 for t in snn.thresholds.values())
    assert any(not torch.equal(a, b) for a, b in zip(snn.parameters(), converted.parameters(), strict=True))


@pytest.mark.parametrize("epochs", [1, 0], ids=["trained", "random"])
def test_one_threshold_everywhere_leaves_batch_norms_to_their_own_key(epochs, tmp_path):
    statistics = {}
    for how in ("reestimate", "keep", "reset"):
        lines = []
        conversion = {"threshold": 1.0, "batch_norm": how, "scale": 0.5}
        run = tiny(tmp_path / how, pretrain={"epochs": epochs, "probe": ""}, conversion=conversion, compare=[])
        run = replace(run, listener=Listener(lines.append))
        run_all(run, "convert")
        net = run.open("converted")
        assert {threshold.item() for threshold in net.thresholds.values()} == {1.0}
        assert any("conversion.threshold sets all thresholds, so scale, timesteps" in line for line in lines)
        statistics[how] = read_tensors(run.path("converted"))[0]
        ann = read_tensors(run.path("ann"))[0]
        kept = [torch.equal(ann[name], statistics[how][f"body.{name}"]) for name in ann if "running_mean" in name]
        assert all(kept) if how == "keep" or not epochs else not any(kept)
    means = [name for name in statistics["keep"] if "running_mean" in name]
    assert all(not statistics["reset"][name].any() for name in means)
    assert all(statistics["reestimate"][name].any() == (epochs > 0) for name in means)


def test_metrics_have_a_line_per_epoch_and_one_of_conversion(finished):
    for out in (finished, finished / "natural"):
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert [line["stage"] for line in lines] == ["pretrain"] * 2 + ["convert"] + ["finetune"] * 2
        for stage, name in (("pretrain", "ann"), ("finetune", "snn")):
            history = read_header(out / f"{name}.safetensors").metrics["history"]
            assert [line for line in lines if line["stage"] == stage] == [{"stage": stage, **epoch} for epoch in history]


def test_the_report_has_a_row_per_network_and_a_curve_per_training(finished):
    report = read_report((finished / "report.json").read_bytes(), "report.json")
    assert [row.network for row in report.rows] == ROWS
    assert set(report.curves) == {f"{label} {stage}" for label in ("robust", "natural") for stage in ("pretrain", "finetune")}
    assert {row.report.images for row in report.rows} == {20}
    assert report.recipe == tiny(finished).recipe.table()
    assert all(name in (finished / "report.md").read_text() for name in ROWS)


EXPENSIVE = {"train": making, "convert_network": making, "evaluate_network": measuring}


@pytest.fixture
def done(monkeypatch):
    """Which of the expensive stages are called."""
    calls = []
    for name, module in EXPENSIVE.items():
        real = getattr(module, name)

        def spy(*args, name=name, real=real, **options):
            calls.append(name)
            return real(*args, **options)

        monkeypatch.setattr(module, name, spy)
    return calls


def test_a_finished_run_does_nothing_twice(folder, done):
    kept = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".jsonl", ".json")]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in kept]
    report = run_all(tiny(folder))
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in kept] == before
    assert len(kept) == 9
    assert done == []
    assert [row.network for row in report.rows] == ROWS


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ("snn.safetensors", ["train"]),
        ("natural/snn.safetensors", ["train"]),
        ("converted.safetensors", ["convert_network"]),
        ("report.json", ["evaluate_network"] * 4),
    ],
)
def test_what_was_lost_is_made_anew_and_is_the_same(lost, expected, folder, done):
    before = accuracies(run_all(tiny(folder)))
    tensors = {name: read_tensors(folder / name)[0] for name in CHECKPOINTS}
    (folder / lost).unlink()
    assert accuracies(run_all(tiny(folder))) == before
    assert done == expected
    for name in CHECKPOINTS:
        again = read_tensors(folder / name)[0]
        assert all(torch.equal(tensors[name][key], again[key]) for key in tensors[name] | again)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"finetune": {"lr": 0.02}}, ["snn.safetensors", "another finetune"]),
        ({"conversion": {"scale": 0.5}}, ["converted.safetensors", "another conversion"]),
        ({"neurons": {"leak": 0.9}}, ["converted.safetensors", "another neurons"]),
        ({"timesteps": 3}, ["converted.safetensors", "another timesteps"]),
        ({"pretrain": {"epochs": 3}}, ["ann.safetensors", "another pretrain"]),
        ({"model": {"width": 0.5}}, ["ann.safetensors", "another model"]),
        ({"data": {"limit": 119}}, ["ann.safetensors", "another data"]),
        ({"seed": 1}, ["ann.safetensors", "another seed"]),
        ({"baselines": {"natural": {"finetune": NATURAL | {"lr": 0.5}}}}, ["natural/snn.safetensors", "another finetune"]),
    ],
    ids=str,
)
def test_the_folder_of_another_recipe_is_refused_and_left_as_it_is(change, named, folder):
    before = files(folder)
    with pytest.raises(ValueError, match=r"choose another --out") as caught:
        run_all(tiny(folder, **change))
    assert all(word in str(caught.value) for word in named)
    assert files(folder) == before


@pytest.mark.parametrize("change", [{"evaluation": {"eps": [0.05]}}, {"evaluation": {"limit": 10}}], ids=str)
def test_another_evaluation_is_measured_anew_on_the_same_networks(change, folder, done):
    before = {name: content for name, content in files(folder).items() if name.endswith(".safetensors")}
    report = run_all(tiny(folder, **change))
    assert done == ["evaluate_network"] * 4
    assert [row.network for row in report.rows] == ROWS
    assert {name: content for name, content in files(folder).items() if name.endswith(".safetensors")} == before


@pytest.mark.parametrize("rows", range(4))
def test_the_report_goes_on_at_the_row_where_it_stopped(rows, folder, done):
    path = folder / "report.json"
    whole = read_report(path.read_bytes(), path)
    path.write_bytes(whole.model_copy(update={"rows": whole.rows[:rows]}).to_json())
    report = measuring.evaluate(tiny(folder))
    assert accuracies(report) == accuracies(whole)
    assert report.rows[:rows] == whole.rows[:rows]
    assert done == ["evaluate_network"] * (4 - rows)


def test_the_report_says_in_every_form_what_was_run(finished):
    lines = plan(tiny(finished).recipe)
    report = read_report((finished / "report.json").read_bytes(), "report.json")
    assert report.plan == tuple(lines)
    assert lines[1].startswith("robust: ANN digits by Adversarial(eps=0.1, steps=2), 2 epochs; SNN, T = 2, ")
    text, drawn = ((finished / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert all(f"- {line}\n" in text and f"<li>{line}</li>" in drawn for line in lines)


def test_a_report_that_does_not_say_what_was_run_learns_it_and_keeps_its_figures(folder, done):
    path = folder / "report.json"
    whole = read_report(path.read_bytes(), path)
    path.write_bytes(whole.model_copy(update={"plan": ()}).to_json())
    assert measuring.evaluate(tiny(folder)) == whole == read_report(path.read_bytes(), path)
    assert done == []


def test_rows_keep_the_versions_they_were_measured_with(folder, done):
    path = folder / "report.json"
    whole = read_report(path.read_bytes(), path)
    older = {"versions": whole.versions | {"torch": "1.0"}, "rows": whole.rows[:2]}
    path.write_bytes(whole.model_copy(update=older).to_json())
    report = measuring.evaluate(tiny(folder))
    assert [row.versions for row in report.rows] == [{}, {}, {"torch": torch.__version__}, {"torch": torch.__version__}]
    assert report.versions["torch"] == "1.0"
    assert f"{ROWS[2]} was measured with torch {torch.__version__}." in markdown(report)


def test_a_report_of_another_recipe_is_measured_anew_and_that_is_said(folder):
    lines = []
    before = read_report((folder / "report.json").read_bytes(), "there")
    run = replace(tiny(folder, evaluation={"eps": [0.05], "limit": 10}), listener=Listener(say=lines.append))
    assert {result.eps for row in measuring.evaluate(run).rows for result in row.report.results} == {0.05}
    (line,) = [line for line in lines if line.startswith("measuring again")]
    other = f"{folder / 'report.json'} is of a recipe with another evaluation.eps and evaluation.limit"
    (earlier,) = folder.glob("report-*.json")
    assert line == f"measuring again: {other}; it is kept as {earlier.name}"
    assert read_report(earlier.read_bytes(), earlier) == before


def other_images(folder, part):
    """A run whose images of one part are others, in a data set of the same name and colours."""
    run = tiny(folder)
    images = getattr(run.data, part)
    pixels = images.values.flip(-1)
    run.__dict__["data"] = replace(run.data, **{part: Samples(pixels, images.labels, images.classes, ids=images.ids)})
    return run


def test_other_training_images_under_the_same_name_are_refused(folder):
    with pytest.raises(ValueError, match=r"ann\.safetensors was made with other training images than 'digits' contains now"):
        run_all(other_images(folder, "train"))


def test_other_test_images_under_the_same_name_are_measured_anew(folder):
    said, before = [], read_report((folder / "report.json").read_bytes(), "there")
    run = replace(other_images(folder, "test"), listener=Listener(said.append))
    run.__dict__["data"] = other_images(folder, "test").data
    report = measuring.evaluate(run)
    assert report.versions["test images"] != before.versions["test images"]
    assert any("measuring again" in line and "data.name" in line for line in said)
    assert [row.network for row in report.rows] == [row.network for row in before.rows]


def test_a_damaged_report_is_measured_anew_as_its_error_advises(folder):
    whole = accuracies(run_all(tiny(folder)))
    (folder / "report.json").write_bytes((folder / "report.json").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"report\.json.*evaluate the run again"):
        measuring.report(tiny(folder))
    assert accuracies(measuring.evaluate(tiny(folder))) == whole


def test_the_stages_one_by_one_are_the_run(finished, tmp_path):
    run = tiny(tmp_path)
    for stage in list(STAGES)[:-1]:
        run_all(run, until=stage)
    whole = read_report((finished / "report.json").read_bytes(), "report.json")
    assert accuracies(measuring.report(run)) == accuracies(whole)


def test_a_single_test_image_is_enough(tmp_path):
    report = run_all(tiny(tmp_path, evaluation={"limit": 1}, compare=[]))
    assert [row.report.images for row in report.rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("stage", "missing", "first"),
    [
        ("convert", "ann", "pretrain"),
        ("finetune", "converted", "convert"),
        ("evaluate", "ann", "pretrain"),
        ("report", "report.json", "evaluate"),
    ],
)
def test_a_stage_without_the_one_before_says_which_to_run(stage, missing, first, tmp_path):
    with pytest.raises(ValueError, match=rf"{missing}.*run the stage '{first}'"):
        STAGES[stage].do(tiny(tmp_path))
    assert files(tmp_path) == {}


class Stop(Exception):
    """What interrupts a run here."""


def stopping(run, word):
    """The run, interrupted by the first line that has the word in it."""

    def say(line):
        if word in line:
            raise Stop

    return Run(run.recipe, run.out, Listener(say=say))


@pytest.mark.parametrize("change", [{"conversion": {"scale": 0.6}}, {"timesteps": 3}], ids=str)
def test_finetuning_never_goes_on_from_another_conversion(change, folder):
    """Stopped in finetuning, converted anew as the error advises: the old state must not be taken up."""
    for name in ("snn.safetensors", "report.json", "metrics.jsonl"):
        (folder / name).unlink()
    with pytest.raises(Stop):
        run_all(stopping(tiny(folder), "epoch 1/2"), "finetune")
    for each in (folder, folder / "natural"):
        (each / "converted.safetensors").unlink()
        (each / "snn.safetensors").unlink(missing_ok=True)
    run = tiny(folder, **change)
    run_all(run, "convert")
    try:
        run_all(run, "finetune")
    except ValueError as error:
        assert "snn.state" in str(error)  # noqa: PT017
        return
    found = read_tensors(run.path("snn"))[0]
    (folder / "snn.safetensors").unlink()
    run_all(run, "finetune")
    clean = read_tensors(run.path("snn"))[0]
    assert all(torch.equal(found[name], clean[name]) for name in clean)


@pytest.mark.parametrize("train", [True, False])
def test_thresholds_can_be_left_as_they_were_converted(train, folder):
    (folder / "snn.safetensors").unlink()
    run_all(tiny(folder, finetune={"train_thresholds": train}, compare=[]), "finetune")
    before, after = (read_tensors(folder / f"{name}.safetensors")[0] for name in ("converted", "snn"))
    thresholds = [name for name in before if name.endswith("threshold")]
    assert len(thresholds) > 1
    assert all(torch.equal(before[name], after[name]) != train for name in thresholds)
    assert not all(torch.equal(before[name], after[name]) for name in set(before) - set(thresholds))


def test_a_stopped_stage_leaves_its_state_and_the_finished_one_removes_it(folder):
    for name in ("snn.safetensors", "report.json"):
        (folder / name).unlink()
    with pytest.raises(Stop):
        run_all(stopping(tiny(folder), "epoch 1/2"), "finetune")
    assert (folder / "snn.state").exists()
    before = files(folder)
    with pytest.raises(ValueError, match=r"snn\.state is of a training with another finetune\.lr"):
        run_all(tiny(folder, finetune={"lr": 0.5}), "finetune")
    assert files(folder) == before, "the recipe too"
    run_all(tiny(folder), "finetune")
    assert not (folder / "snn.state").exists()
    lines = [json.loads(line)["stage"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted(["pretrain"] * 2 + ["convert"] + ["finetune"] * 2)


def stopped_in_evaluation(folder):
    """A run stopped when the finetuned network had been attacked, but nothing else was measured of it."""
    (folder / "report.json").unlink()

    def progress(what, share):
        if what.startswith("robust SNN, finetuned: FGSM") and share == 1:
            raise Stop

    run = tiny(folder)
    with pytest.raises(Stop):
        measuring.evaluate(Run(run.recipe, run.out, Listener(progress=progress)))
    return run


def test_an_evaluation_that_goes_on_says_so(folder):
    run, said = stopped_in_evaluation(folder), []
    measuring.evaluate(Run(run.recipe, run.out, Listener(said.append)))
    assert said == ["robust SNN, finetuned: evaluating, resumed", "natural SNN, finetuned: evaluating"]


def test_what_was_found_of_a_network_goes_with_it(folder):
    """Stopped in evaluation, trained anew: nothing found is taken up, and nothing is in the way."""
    stopped_in_evaluation(folder)
    (state,) = folder.glob("snn.*.evaluation")
    state.with_name(f"{state.name}.1-of-2").touch()  # of another process
    for path in (folder / "report.json", *folder.rglob("snn.safetensors")):
        path.unlink()
    run = tiny(folder, finetune={"lr": 0.1})
    run_all(run, "finetune")
    assert list(folder.glob("*.evaluation*")) == []
    assert len(measuring.evaluate(run).rows) == len(ROWS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": {"name": "vgg", "plan": ["A"] * 5, "hidden": [4]}},
        {"baselines": {"natural": {"model": {"name": "vgg", "plan": ["A"] * 5, "hidden": [4]}}}},
    ],
    ids=["run", "baseline"],
)
def test_a_body_that_cannot_be_built_is_refused_before_anything_is_trained(wrong, tmp_path, done):
    with pytest.raises(ValueError, match="pools more often"):
        run_all(tiny(tmp_path, **wrong))
    assert done == []


def test_everything_is_told_in_shares_that_rise(tmp_path):
    lines, shares = [], {}
    listener = Listener(lines.append, lambda what, share: shares.setdefault(what, []).append(share))
    run = tiny(tmp_path, baselines={"natural": {}})
    run_all(Run(run.recipe, run.out, listener))
    assert {"robust pretrain", "robust conversion", "robust finetune", "robust ANN: FGSM at 0.1"} <= set(shares)
    for told in shares.values():
        assert told == sorted(told)
        assert told[-1] == 1
    assert sum("epoch 2/2" in line for line in lines) == 4
    assert not any("\n" in line for line in lines)


def test_networks_to_transfer_from_are_where_the_run_is(finished, monkeypatch):
    elsewhere = Team(SimpleNamespace(device=torch.device("meta"), world_size=1))
    run = replace(tiny(finished, evaluation={"transfer": [str(finished / "ann.safetensors")]}), team=elsewhere)
    for _, net in measuring.sources(run, finished / "none"):
        assert {parameter.device.type for parameter in net.parameters()} == {"meta"}


def test_a_network_of_another_recipe_lends_its_examples_too(finished):
    other = tiny(finished, pretrain={"epochs": 7})
    with pytest.raises(ValueError, match=r"another pretrain\.epochs"):
        other.open("ann")
    assert "robust ANN" in dict(measuring.sources(other, finished / "none"))


def test_examples_are_transferred_between_the_networks_of_a_run_and_from_those_it_names(folder, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[[ensembles.moved]]\nattack = "FGSM"\npaths = ["sources"]\n')
    elsewhere = tmp_path / "elsewhere.safetensors"
    shutil.copy(folder / "ann.safetensors", elsewhere)
    settings = {"protocol": str(own), "attacks": [], "transfer": [str(elsewhere)]}
    report = measuring.evaluate(tiny(folder, evaluation=settings))
    others = {row.network: set(row.report.results[0].members) for row in report.rows}
    networks = {"robust ANN", "robust SNN, finetuned", "natural SNN, finetuned"}
    for name, members in others.items():
        assert members == {f"transfer from {other}" for other in {*networks, str(elsewhere)} - {name}}
