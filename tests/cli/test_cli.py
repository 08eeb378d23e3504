"""The command line: what it prints, and that every mistake is one line, an exit code, and nothing half done."""

from __future__ import annotations

import inspect
import json
import logging
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robustsnn import Linf, checkpoint, evaluate
from robustsnn.cli import parse
from robustsnn.cli import run as running
from robustsnn.cli.catalogue import KINDS
from robustsnn.cli.commands import COMMANDS
from robustsnn.data import DATASETS, Samples, digits
from robustsnn.evaluation import PUBLISHED_PATHS
from robustsnn.models import MODELS, create
from robustsnn.recipes import STAGES, load_recipe, making, measuring
from robustsnn.recipes.recipe import from_toml
from robustsnn.reporting import read_report
from robustsnn.training import OBJECTIVES

pytestmark = pytest.mark.usefixtures("unchecked")

SMALL = (Path(__file__).parents[1] / "small.toml").read_text()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(here):
    (here / "small.toml").write_text(SMALL)
    return "small.toml"


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",), ("help",)], ids=str)
def test_help_shows_every_command_and_kind(args, said):
    code, out, error = said(*args)
    assert (code, error) == (0, "")
    assert all(word in out for word in (*COMMANDS, "--version"))


@pytest.mark.parametrize("command", ["run", "info"])
def test_all_help_of_a_recipe_lists_every_key(command, said, here):
    code, out, error = said(command, "digits", "--help-all")
    assert (code or 0, error) == (0, "")
    table = load_recipe("digits").table()
    keys = [f"{s}.{k}" for s in ("data", "pretrain", "conversion", "finetune", "evaluation") for k in table[s]]
    assert "--finetune.lr " in out
    assert [key for key in keys if f"--{key.replace('_', '-')}" not in out] == []
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_short_help_explains_every_flag(name):
    known = parse.flags(COMMANDS[name].default)
    assert [flag for flag in COMMANDS[name].first if not known[flag].help] == []


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("asked", ["--help", "-h", "--help-all"])
def test_help_of_a_command_describes_it(asked, name, said, here):
    code, out, error = said(name, asked)
    assert (code, error) == (0, "")
    assert out.startswith(f"usage: robustsnn {name}")
    flat = " ".join(out.split())
    assert " ".join(COMMANDS[name].default.__doc__.split()) in flat
    if COMMANDS[name].first and asked != "--help-all":
        assert f"'robustsnn {name}" in flat
        shown = set(re.findall(r"--[a-z][a-z.-]*", flat)) - {"--help", "--help-all"}
        assert {flag for flag in shown if "no-" not in flag} == set(COMMANDS[name].first)
        assert len(shown) <= 10


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("recipes", ["digits"]),
        ("baselines", ["digits:natural  # changes pretrain.objective", "cifar10-small:snn_rat"]),
        ("models", MODELS),
        ("datasets", DATASETS),
        ("objectives", OBJECTIVES),
        ("regularizers", ["SparseGradients(h=0.01)"]),
        ("after_step", ["ThresholdFloor(floor=0.03)"]),
        ("stops", ["CatastrophicOverfitting(drop=0.2)"]),
        ("zoo", ["zoo:digits-robust  # digits, T = 8: clean 96.4%, rigorous 81.6% at 0.075, 57.3% at 0.15"]),
        ("attacks", ["FGSM(goal=CrossEntropy", "PGD(steps=20", "RFGSM"]),
        ("threats", ["Linf(eps=8/255)", "L2(eps=0.5)"]),
        ("surrogates", ["Triangle", "Exponential", "Rectangle", "StraightThrough"]),
        ("paths", map(repr, PUBLISHED_PATHS)),
        ("certificates", ["Intervals(", "Smoothing(", "SparseSmoothing("]),
        ("protocols", ["quick  # FGSM, PGD-10", "paper  # "]),
        ("targets", ["generic", "snntorch", "spikingjelly", "norse", "sinabs", "lava"]),
    ],
)
def test_list_has_a_line_per_name(kind, names, said):
    code, out, _ = said("list", kind)
    assert code == 0
    assert [name for name in names if not any(line.startswith(name) for line in out.splitlines())] == []
    assert len(out.splitlines()) == len(KINDS[kind]())
    assert all(re.search(r"\S  # \S", line) for line in out.splitlines()), "each says what it is"


def test_every_kind_is_tested():
    (mark,) = test_list_has_a_line_per_name.pytestmark
    assert {kind for kind, _ in mark.args[1]} == set(KINDS)


@pytest.mark.parametrize("name", KINDS["baselines"]())
def test_a_listed_baseline_can_be_run(name):
    assert load_recipe(name).name == name.replace(":", "-")


@pytest.mark.parametrize(("name", "kind"), [("ann", "ann"), ("converted", "snn"), ("snn", "snn")])
def test_info_says_what_a_checkpoint_holds(name, kind, said, ran):
    path = ran / "runs/small" / f"{name}.safetensors"
    code, out, _ = said("info", path)
    assert code == 0
    assert out.startswith(f"{path}: {kind}, 2,7")
    assert "recipe.name: small" in out
    assert ("spiking.dynamics" in out) == (kind == "snn")
    assert "{" not in out  # a line per key, and nothing that only programs read


def test_a_checkpoint_is_evaluated_as_its_recipe_says_but_for_the_flags(said, ran):
    code, out, error = said("evaluate", ran / "runs/small/snn.safetensors", "--eps", "0.05", "8/255", "--limit", "5")
    assert (code, error) == (0, "")
    assert "Protocol quick, rule any" in out
    assert "over 5 test samples" in out
    flat = out.replace("\n", " ")
    assert "0.05" in flat
    assert "8/255" in flat
    assert "PGD" not in flat


def test_another_protocol_runs_its_own_attacks_however_it_is_written(said, ran):
    """Not those which the recipe selects of `quick`."""
    words = ("evaluate", ran / "runs/small/snn.safetensors", "--limit=1", "--audit-images=0", "--eps=0.5")
    code, out, error = said(*words, "--protocol=paper")
    assert (code, error) == (0, "")
    assert "APGD-T ε=0.5" in out


@pytest.mark.parametrize("command", ["list recipes", "run small.toml --until convert", "report FOLDER"])
def test_what_measures_no_single_run_is_not_asked_for_its_audit(command, refused, small, ran):
    words = [str(ran / "runs/small") if word == "FOLDER" else word for word in command.split()]
    assert re.search("unknown flag --strict|--strict needs an audit, but --until convert", refused(*words, "--strict"))


def test_a_checkpoint_saved_by_hand_can_be_evaluated_too(said, here, ran):
    """The README: "any checkpoint"."""
    model = checkpoint.read_header(ran / "runs/small/snn.safetensors").recipe["model"]
    checkpoint.save(here / "own.safetensors", checkpoint.load(ran / "runs/small/snn.safetensors"), {"model": model})
    flags = ("--protocol", "quick", "--attacks", "FGSM", "--limit", "5")
    code, _, error = said("evaluate", "own.safetensors", *flags)
    assert (code, error) == (
        2,
        "robustsnn: error: own.safetensors does not name its data set: add one, such as --data digits\n",
    )
    code, out, error = said("evaluate", "own.safetensors", *flags, "--data", "digits", "--json")
    assert (code, json.loads(out)["recipe"]["data"]["name"]) == (0, "digits")
    checkpoint.save(here / "mine.safetensors", torch.nn.Linear(2, 2))
    assert said("evaluate", "mine.safetensors")[2].endswith(
        "such as --data digits, and the code of its network by --ann package.module:factory\n"
    )
    assert "did you mean 'digits'" in said("evaluate", "own.safetensors", *flags, "--data", "digit")[2]
    evaluation = running.recipe_of("own.safetensors").evaluation
    unsaid = inspect.signature(evaluate).parameters
    assert (evaluation.protocol, evaluation.eps) == (unsaid["protocol"].default, (Linf().eps,)), "as in Python"


def test_the_report_of_a_checkpoint_says_what_was_run(said, here, ran):
    """And of one that was saved by hand nothing that nobody knows."""
    header = checkpoint.read_header(ran / "runs/small/snn.safetensors")
    by_hand = {key: header.recipe[key] for key in ("name", "model", "data", "evaluation")}
    checkpoint.save(here / "own.safetensors", checkpoint.load(ran / "runs/small/snn.safetensors"), by_hand)
    images, measured = "small: digits, at most 60 samples, seed 0", "measured: quick (FGSM), eps 0.05, at most 5 samples"
    made = "the run that made snn.safetensors: ANN digits by Natural(), 1 epoch; SNN, T = 2, thresholds 0.3 x calibrated; "
    for path, lines in (
        (ran / "runs/small/snn.safetensors", (images, f"{made}finetuned by Natural(), 1 epoch", measured)),
        ("own.safetensors", (images, measured)),
    ):
        assert said("evaluate", path, "--eps", "0.05", "--limit", "5", "--out", "there")[0] == 0
        assert read_report((here / "there/report.json").read_bytes(), "there").plan == lines
        assert "\n".join(f"- {line}" for line in lines) in (here / "there/report.md").read_text()


def test_flags_change_the_recipe(small, here, said):
    flags = ("--finetune.lr", "1/50", "--evaluation.eps", "8/255", "0.1", "--neurons.leak", "0.9", "--seed", "3")
    assert said("run", small, "--until", "pretrain", "--out", "there", *flags)[0] == 0
    recipe = from_toml((here / "there/recipe.toml").read_text(), "there")
    assert (recipe.finetune.lr, recipe.evaluation.eps, recipe.neurons.leak, recipe.seed) == (0.02, (8 / 255, 0.1), 0.9, 3)


def test_without_out_a_run_lives_under_its_name(small, here, said):
    assert said("run", small, "--until", "pretrain")[0] == 0
    assert (here / "runs/small/ann.safetensors").exists()


def test_the_stages_one_after_the_other_are_a_run(small, said, ran):
    for name in STAGES:
        code, out, error = said("run", small, "--until", name, "-o", "there")
        assert (code, error) == (0, "")
    assert "report.html" in out
    again = said("run", small, "--out", "there")
    table = out[out.index("network ") : out.index("Protocol")]
    assert table in again[1]
    assert table in said("run", ran / "small.toml", "--out", ran / "runs/small")[1]


def test_the_report_names_a_command_that_makes_the_same_run_again(small, here, said):
    table = said("run", small, "--out", "there", "--seed", "3")[1].partition("network ")[2].partition("The report")[0]
    command = shlex.split(read_report((here / "there/report.json").read_bytes(), "there").command)
    assert command[0] == "robustsnn"
    code, out, error = said(*command[1:], "--out", "again")
    assert (code, error) == (0, "")
    assert table in out


def test_without_a_terminal_lines_are_plain(small, said):
    _, out, _ = said("run", small, "--out", "there")
    assert [character for character in out if not character.isprintable() and character != "\n"] == []
    assert "small.toml" not in out
    assert "small ANN" in out


def test_a_table_is_not_cut_where_there_is_no_terminal(said, ran):
    """A name or figure that is cut off cannot be read back from a log."""
    radii = [str(n / 100) for n in range(1, 10)]
    out = said("evaluate", ran / "runs/small/snn.safetensors", "--eps", *radii, "--limit", "2")[1]
    assert "…" not in out
    assert "snn.safetensors" in out


def test_an_interrupt_is_130_and_a_line(small, said, monkeypatch):
    def interrupt(run, until):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_all", interrupt)
    code, _, error = said("run", small)
    assert code == 130
    assert error == "robustsnn: stopped; the same command continues where it stopped\n"


def test_a_bug_is_a_line_too_and_shows_where_when_asked(small, said, monkeypatch):
    def bug(run, until):
        raise KeyError("lost")

    monkeypatch.setattr(running, "run_all", bug)
    code, _, error = said("run", small)
    assert code == 1
    assert error.startswith("robustsnn: internal error: KeyError: 'lost'")
    assert "Traceback" not in error
    assert "Traceback" in said("run", small, "-v")[2]


def test_runs_are_compared_on_one_page(said, ran, here):
    shutil.copytree(ran / "runs/small", here / "a run")
    code, out, error = said("report", "a run", ran / "runs/small", "--out", "pages/all.html")
    assert (code, error) == (0, "")
    assert "best spiking network" in out
    text = (here / "pages/all.html").read_text()
    assert text.count("small SNN, finetuned</th>") == 2
    assert 'href="../a%20run/report.html"' in text
    assert said("report", "a run", "--out", "one.html")[0] == 0
    assert (here / "one.html").exists()


def test_runs_that_differ_say_in_what(said, ran, here):
    shutil.copytree(ran / "runs/small", here / "other")
    path = here / "other/report.json"
    report = read_report(path.read_bytes(), path)
    recipe = report.recipe | {"finetune": report.recipe["finetune"] | {"epochs": 7}}
    path.write_bytes(report.model_copy(update={"recipe": recipe}).to_json())
    folders = (str(ran / "runs/small"), "other")
    code, out, error = said("report", *folders)
    assert (code, error) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("finetune.")]
    assert re.split(r"[ │|]+", line.strip()) == ["finetune.epochs", "1", "7"]
    assert "finetune.epochs</th><td>1</td><td>7</td>" in (here / "comparison.html").read_text()
    found = json.loads(said("report", *folders, "--json")[1])["differences"]
    assert found == {"finetune.epochs": dict(zip(folders, (1, 7), strict=True))}


def test_a_recipe_is_one_even_if_a_folder_has_its_name(refused, here):
    (here / "digits").mkdir()
    assert re.search(r"'robustsnn run digits --until evaluate'", refused("evaluate", "digits"))


def test_a_folder_is_no_checkpoint_but_may_hold_one(refused, here):
    mine = here / "mine"
    mine.mkdir()
    for command in ("evaluate", "info", "run"):
        assert "mine is a folder: it holds no checkpoint; 'robustsnn run' makes one" in refused(command, "mine")
    for name in ("ann.safetensors", "snn.safetensors", "recipe.toml", "report.json"):
        (mine / name).touch()
        assert "mine is a folder: use a checkpoint in it, such as mine/" in refused("evaluate", "mine")
    said = refused("info", "mine")
    assert "mine/snn.safetensors; its recipe is mine/recipe.toml; 'robustsnn report mine' reads its report" in said
    assert "mine/report.json is a file: use the folder of an evaluated run" in refused("report", "mine/report.json")


def test_an_evaluation_of_the_zoo_leaves_no_folder(said, refused, here):
    flags = "--protocol", "quick", "--attacks", "FGSM", "--limit", "2", "--audit-images", "0"
    assert "my.html is a file name, but a report is" in refused("evaluate", "zoo:digits-robust", *flags, "--out", "my.html")
    assert said("evaluate", "zoo:digits-robust", *flags)[0] == 0
    assert [*here.iterdir()] == []


def test_a_folder_that_cannot_be_compared_is_named(refused, ran, here):
    (here / "empty").mkdir()
    assert re.search(r"no empty/report\.json: use folders of evaluated runs", refused("report", ran / "runs/small", "empty"))
    assert re.search(r"no empty/report\.json: use folders of evaluated runs", refused("report", "empty"))
    assert re.search("outt", refused("report", ran / "runs/small", "--outt", "x"))
    assert [path.name for path in here.iterdir()] == ["empty"]


def test_info_says_what_a_recipe_does_and_does_none_of_it(said, here, small):
    code, out, _ = said("info", small, "--finetune.epochs", "3")
    assert code == 0
    assert out.startswith("small: digits, at most 60 samples, seed 0\nsmall: ANN digits by Natural(), 1 epoch; SNN, T = 2, ")
    assert "finetuned by Natural(), 3 epochs" in out
    assert "measured: quick (FGSM), eps 0.1, at most 10 samples\n" in out
    assert from_toml(out.split("\n\n", 1)[1], "what info says").finetune.epochs == 3
    assert json.loads(said("info", "cifar10-small:end_to_end", "--json")[1])["plan"][1].startswith(
        "end_to_end: ANN vgg, random"
    )
    assert not (here / "runs").exists()


WRONG_COMMANDS = [
    ("runn digits", "did you mean 'run'"),
    ("run", "usage: robustsnn run RECIPE"),
    ("run digts", "did you mean 'digits'"),
    ("run nowhere.toml", "cannot read recipe nowhere.toml: No such file"),
    ("list", "usage: robustsnn list KIND"),
    ("list modles", "did you mean 'models'"),
    ("info", "usage: robustsnn info FILE"),
    ("info digts", "did you mean 'digits'"),
    ("info digits.safetensors --seed 3", "unknown flag --seed: .*known: --json"),
    ("info nowhere.safetensors", "no checkpoint at nowhere.safetensors"),
    ("evaluate nowhere.safetensors", "no checkpoint at nowhere.safetensors"),
    ("convert digits", "'robustsnn convert' is now 'robustsnn run RECIPE --until convert'"),
    ("bench", r"'robustsnn bench' is now 'python -m benchmarks\.bench"),
    ("evaluate digits", "'robustsnn run digits --until evaluate'"),
    ("evaluate mine.toml --eps 0.1", r"'robustsnn run mine\.toml --until evaluate'"),
    ("evaluate digits-robust", "such as zoo:digits-robust"),
    ("evaluate nowhere", "nowhere is not a checkpoint: use a .safetensors file, or zoo:NAME"),
    ("report digits", "'robustsnn run digits' writes its report"),
    ("report nowhere", r"no nowhere/report\.json: use folders of evaluated runs"),
    ("report", "usage: robustsnn report FOLDER"),
    ("run digits --until convrt", "--until convrt: write one of pretrain, prune, staircase, convert"),
    ("run digits --outt x", "did you mean '--out'"),
    ("run digits digits", "unexpected argument 'digits'"),
    ("run --seed 3 digits", "usage: robustsnn run RECIPE"),
    ("run digits --devices x", "--devices"),
    ("run digits --memory lots", "memory must be an amount such as 8GiB"),
    ("run digits --accelerator cuda", "robustsnn doctor"),
    ("completion ksh", "unknown shell 'ksh'"),
]


@pytest.mark.parametrize(("line", "complaint"), WRONG_COMMANDS)
def test_a_wrong_command_is_one_line(line, complaint, refused, here):
    assert re.search(complaint, refused(*line.split()))
    assert list(here.iterdir()) == []


WRONG_FLAGS = [
    ("--finetune.lrr 3", r"finetune\.lr\b|did you mean 'lr'"),
    ("--fintune.lr 3", r"finetune\.lr\b|did you mean 'finetune'"),
    ("--finetune.lr abc", r"'abc' is not a number"),
    ("--finetune.lr", r"finetune\.lr"),
    ("--finetune.lr -1", r"finetune.*lr.*greater than 0"),
    ("--finetune.epochs 1.5", r"finetune\.epochs.*1\.5"),
    ("--timesteps 0", r"timesteps.*greater than or equal to 1"),
    ("--timesteps -3", r"timesteps.*greater than or equal to 1"),
    ("--evaluation.eps -0.1", r"eps.* 0\b.*-0\.1"),
    ("--evaluation.eps 8/255 -4/255", r"eps.* 0\b.*-(4/255|0\.015)"),
    ("--evaluation.eps 8/0", r"evaluation\.eps.*8/0"),
    ("--evaluation.protocol papr", r"did you mean 'paper'"),
    ("--evaluation.attacks PGD-1O", r"did you mean 'PGD-10'"),
    ("--model.name vg", r"did you mean 'vgg'"),
    ("--model.width 0", r"width.*greater than 0"),
    ("--data.name digit", r"did you mean 'digits'"),
    ("--data.flip maybe", r"maybe"),
    ("--pretrain.objective Trade()", r"did you mean 'Trades'"),
    ("--pretrain.objective Trades(bta=3)", r"did you mean 'beta'"),
    ("--finetune.probe PDG(steps=3)", r"did you mean 'PGD'"),
    ("--neurons.surrogate Tringle()", r"did you mean 'Triangle'"),
    ("--neurons.reset none", r"reset.*zero"),
]


@pytest.mark.parametrize(("flags", "complaint"), WRONG_FLAGS)
def test_a_wrong_flag_is_one_line_and_nothing_is_begun(flags, complaint, refused, here):
    assert re.search(complaint, refused("run", "digits", *flags.split()))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("flags", ["--finetune.lr -1", "--evaluation.eps -0.1", "--model.name vg", "--data.validation 2"])
def test_a_wrong_value_is_explained_in_our_words_not_in_those_of_a_library(flags, refused, here):
    line = refused("run", "digits", *flags.split())
    assert all(word in line for word in re.findall(r"\w+", flags.split()[0]))
    assert not any(word in line for word in ("pydantic", "validation error", "input_value"))


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ("--eps -0.1", r"eps.* 0\b.*-0\.1"),
        ("--eps=-0.1", r"eps.* 0\b.*-0\.1"),
        ("--protocol papr", "did you mean 'paper'"),
        ("--protocol=papr", "did you mean 'paper'"),
        ("--epz 0.1", r"\beps\b"),
        ("--epz=0.1 --out=there", r"\beps\b"),
        ("--evaluation.limit 4", "write --limit$"),
        ("--evaluation.protocol=quick", "write --protocol$"),
    ],
)
def test_a_wrong_flag_for_a_checkpoint_is_one_line(flags, complaint, refused, ran):
    assert re.search(complaint, refused("evaluate", ran / "runs/small/snn.safetensors", *flags.split()))


WRONG_RECIPES = [
    ("name =", r"small\.toml is not valid TOML"),
    ("", r"small\.toml: name: Field required"),
    (SMALL + "finetun.lr = 1", r"unknown key 'finetun': did you mean 'finetune'"),
    (SMALL.replace("model.width", "model.widht"), r"widht.*did you mean 'width'"),
    (SMALL.replace("timesteps = 2\n", "timesteps = 0\n"), r"timesteps: .*greater than or equal to 1"),
    (SMALL.replace("eps = [0.1]", "eps = [-0.1]"), r"eps.* 0\b.*-0\.1"),
    (SMALL.replace("data.limit = 60", 'data.name = "digit"'), r"data\.name: .*did you mean 'digits'"),
    (SMALL.replace("data.limit = 60", "data.limit = 2"), r"holding out .* leaves a part empty"),
    (SMALL.replace("model.width = 0.25", 'model = {name = "vgg", plan = ["B"], hidden = [4]}'), r"plan entry 'B'"),
    (SMALL.replace('{objective = "Natural()", epochs = 1}', '{objective = "Trades(eps=-1)"}', 1), r"-1"),
]


@pytest.mark.parametrize(("text", "complaint"), WRONG_RECIPES)
def test_a_wrong_recipe_is_one_line_and_nothing_is_trained(text, complaint, refused, small, here):
    Path(small).write_text(text)
    assert re.search(complaint, refused("run", small, "--out", "there"))
    assert list(here.rglob("*.safetensors*")) == []


@pytest.mark.parametrize("command", ["info", "evaluate"])
@pytest.mark.parametrize("damage", ["truncated", "foreign", "random", "empty"])
def test_a_damaged_checkpoint_is_one_line_that_names_it(damage, command, refused, here, ran):
    path = here / "broken.safetensors"
    whole = (ran / "runs/small/snn.safetensors").read_bytes()
    path.write_bytes({"truncated": whole[:-100], "random": bytes(range(256)) * 10}.get(damage, b""))
    if damage == "foreign":
        save_file({"weight": torch.zeros(2)}, path)
    assert "broken.safetensors" in refused(command, path)


@pytest.mark.parametrize("name", ["ann", "converted", "snn"])
def test_a_damaged_checkpoint_of_a_run_is_not_trained_over(name, refused, small, ran):
    shutil.copytree(ran / "runs/small", "there")
    path = Path(f"there/{name}.safetensors")
    path.write_bytes(path.read_bytes()[:500])
    assert f"{name}.safetensors" in refused("run", small, "--out", "there")
    assert path.stat().st_size == 500


def images(change):
    """The data set of the demo with something wrong with its training images."""
    data = digits()
    train = data.train.first(60)
    fields = {"values": train.values.float() / 255, "labels": train.labels.clone(), "classes": 10}
    change(fields)
    return replace(data, train=Samples(**fields))


BAD_IMAGES = {
    "above one": (lambda f: f["values"].mul_(255), r"values must be in \[0, 1\]"),
    "below zero": (lambda f: f["values"].sub_(0.5), r"values must be in \[0, 1\]"),
    "NaN": (lambda f: f["values"][3, 0, 2].fill_(torch.nan), "NaN"),
    "labels out of range": (lambda f: f["labels"][5].fill_(10), r"labels must be 0 \.\. 9"),
    "negative labels": (lambda f: f["labels"][5].fill_(-1), r"labels must be 0 \.\. 9"),
    "no channels": (lambda f: f.update(values=f["values"][:, 0]), r"\[2, 1, 8, 8\].*\[N, 8, H, W\]"),
}


@pytest.mark.parametrize("what", BAD_IMAGES)
def test_images_that_are_none_are_one_line(what, refused, small, here, monkeypatch):
    change, complaint = BAD_IMAGES[what]
    monkeypatch.setitem(DATASETS, "digits", lambda: images(change))
    assert re.search(complaint, refused("run", small, "--out", "there"))
    assert list(here.rglob("*.safetensors*")) == []


def test_images_with_other_channels_than_the_network_are_one_line(refused, ran, monkeypatch):
    data = digits()
    wide = replace(data.test, values=data.test.values.expand(-1, 3, -1, -1))
    monkeypatch.setitem(DATASETS, "digits", lambda: replace(data, test=wide))
    assert re.search(r"\[N, 1, H, W\].*3", refused("evaluate", ran / "runs/small/snn.safetensors"))


def test_a_layer_that_cannot_be_converted_is_one_line_that_names_it(refused, small, here, monkeypatch):
    def squashed(classes, size, channels, **_):
        inputs = channels * size * size
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4), nn.Sigmoid(), nn.Linear(4, classes))

    monkeypatch.setitem(MODELS, "squashed", squashed)
    Path(small).write_text(SMALL.replace("model.width = 0.25", 'model.name = "squashed"'))
    assert re.search(r"Sigmoid", refused("run", small, "--out", "there"))
    assert not (here / "there").exists(), "it is refused before hours are spent on training it"


def test_a_loss_that_explodes_is_one_line(refused, small, here):
    line = refused("run", small, "--out", "there", "--pretrain.lr", "1e30", "--pretrain.batch", "8")
    assert "lower the learning rate" in line
    assert not (here / "there/ann.safetensors").exists()


def test_a_folder_that_cannot_be_written_is_one_line(refused, small, here):
    (here / "there").write_text("a file")
    assert re.search("cannot write there", refused("run", small, "--out", "there"))


@pytest.mark.parametrize("stage", ["train", "evaluate_network"])
def test_a_disk_that_is_full_is_one_line_and_leaves_whole_files_only(stage, refused, small, here, said, monkeypatch):
    module = measuring if stage == "evaluate_network" else making
    real = getattr(module, stage)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    def then_full(*args, **options):
        monkeypatch.setattr("os.fsync", full)
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, stage, then_full)
        assert "No space left on device" in refused("run", small, "--out", "there")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert [path.name for path in here.rglob(".*")] == []
    assert said("run", small, "--out", "there")[0] == 0


def test_no_code_that_a_checkpoint_names_is_run_to_transfer_examples(said, here, monkeypatch):
    """A folder from elsewhere: its headers name a module that is installed here, and no ``--ann`` does."""
    monkeypatch.syspath_prepend(here)
    (here / "installed.py").write_text("from pathlib import Path\nPath('it-ran').touch()\nmake = dict\n")
    (here / "own.toml").write_text("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Surrogate', 'sources']\n")
    net = checkpoint.load("zoo:digits-robust")
    for name, found in {"snn": net, "ann": create(**net.recipe["model"])}.items():
        checkpoint.save(f"{name}.safetensors", found, {**net.recipe, "ann": "installed:make"})
    code, out, _ = said("evaluate", "snn.safetensors", "--protocol", "own.toml", "--limit", "2", "--audit-images", "0")
    assert (code, "no transfer" in out) == (0, False)
    assert not (here / "it-ran").exists()


def test_a_checkpoint_starts_no_download(said, here, monkeypatch):
    """Only the user's flag does; and a report of a network changed by hand shows no training."""
    net = checkpoint.load("zoo:digits-robust")
    kept = {key: net.recipe[key] for key in ("model", "data", "evaluation")}
    kept["evaluation"] = {**kept["evaluation"], "transfer": ["hf://me/net"]}
    checkpoint.save("own.safetensors", net, kept)
    asked = []
    monkeypatch.setattr("robustsnn.zoo._downloaded", lambda name: asked.append(name) or Path("nowhere"))
    (here / "own.toml").write_text("[[ensembles.mine]]\nattack = 'FGSM'\npaths = ['Surrogate', 'sources']\n")
    line = "evaluate", "own.safetensors", "--protocol", "own.toml", "--limit", "2", "--audit-images", "0", "--out", "out"
    code, out, _ = said(*line)
    assert (code, asked) == (0, [])
    assert "no transfer from hf://me/net, which the checkpoint names: add --transfer hf://me/net to download it" in out
    assert not {"pretrain", "finetune"} & json.loads((here / "out/report.json").read_bytes())["recipe"].keys()
    assert said(*line, "--transfer", "hf://me/net")[0] == 2
    assert asked == ["hf://me/net"]


@pytest.mark.parametrize("given", ["hf://me/net.v1", "hf://me/net.v2", "zoo:net"])
def test_networks_that_are_not_files_keep_their_state_apart(given):
    place = running.place(given)
    assert place.stem == given.rpartition("/")[2].rpartition(":")[2]
    assert place.with_suffix(".state").name == f"{place.stem}.state"


def test_commands_leave_nothing_behind_in_the_process(said, ran, here, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    body = checkpoint.read_header(ran / "runs/small/snn.safetensors").recipe["model"]
    (here / "own.py").write_text(f"from robustsnn.models import create\nmake = lambda: create(**{body})\n")
    launcher = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
    left = []
    for _ in range(3):
        assert said("evaluate", ran / "runs/small/snn.safetensors", "--limit", "1", "--ann", "own:make")[0] == 0
        left.append((len(launcher.handlers), len(sys.path)))
    assert sys.path.count("") == 1
    assert left == [left[0]] * 3
