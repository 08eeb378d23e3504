"""A run that begins with somebody else's ANN: ``--ann package.module:factory`` and ``--weights FILE``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from robustsnn import checkpoint
from robustsnn.models import create, outside
from robustsnn.reporting import read_report

pytestmark = pytest.mark.usefixtures("unchecked")

MYNETS = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, channels, 3, bias=False), nn.BatchNorm2d(channels)
        self.fc1, self.fc2 = nn.Linear(36 * channels, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu(self.bn(self.conv((x - 0.3) / 0.4)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))

class Twice(nn.Module):
    def forward(self, x):
        return x, x

def make(channels=3):
    return Net(channels)

def narrow():
    return Net(1)

def two_outputs():
    return nn.Sequential(Net(1), Twice())

def few_classes():
    return nn.Sequential(Net(1), nn.Linear(10, 3))

def colour():
    return nn.Sequential(nn.Conv2d(3, 1, 1), Net(1))
"""
SMALL = """
name = "small"
timesteps = 2
data.limit = 60
pretrain = {epochs = 1, probe = ""}
conversion = {timesteps = 2, batches = 1}
finetune = {epochs = 1, probe = ""}
evaluation = {protocol = "quick", attacks = ["FGSM"], eps = [0.1], limit = 6, audit_images = 0}
"""
RUN = ("run", "small.toml", "--out", "there")
ANN = ("--ann", "mynets:make")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with a recipe and the module ``mynets``, as at a user's."""
    (tmp_path / "mynets.py").write_text(MYNETS)
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mynets", None)


@pytest.fixture
def state(here, monkeypatch):
    """What training elsewhere made of the factory's network."""
    monkeypatch.syspath_prepend(here)
    return outside("mynets:make", seed=5).state_dict()


def weights(state, name):
    """A file of them."""
    save_file(state, name) if name.endswith(".safetensors") else torch.save(state, name)
    return "--weights", name


def stages():
    return [json.loads(line)["stage"] for line in Path("there/metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_trained_weights_are_converted_finetuned_and_measured_but_not_trained(name, state, said):
    code, out, error = said(*RUN, *ANN, *weights(state, name))
    assert (code, error) == (0, "")
    assert f"small ANN: weights of {name}" in out
    assert stages() == ["convert", "finetune"]
    ann, converted, snn = (load_file(f"there/{kind}.safetensors") for kind in ("ann", "converted", "snn"))
    assert ann.keys() == state.keys()
    assert all(torch.equal(ann[key], value) for key, value in state.items())
    assert torch.equal(converted["body.fc1.weight"], state["fc1.weight"])
    assert not torch.equal(snn["body.fc1.weight"], state["fc1.weight"])
    thresholds = checkpoint.read_header("there/converted.safetensors").metrics["thresholds"]
    assert len(thresholds) == 2
    assert all(value > 0 for value in thresholds.values())
    report = read_report(Path("there/report.json").read_bytes(), "there")
    assert [row.network for row in report.rows] == ["small ANN", "small SNN, converted", "small SNN, finetuned"]
    assert Path("there/report.html").exists()


def test_without_weights_it_is_trained_from_its_first_weights(said):
    assert said(*RUN, "--until", "pretrain", *ANN, "--seed", "3")[0] == 0
    assert stages() == ["pretrain"]
    first = outside("mynets:make", seed=3).state_dict()
    found = load_file("there/ann.safetensors")
    assert found.keys() == first.keys()
    assert not torch.equal(found["fc1.weight"], first["fc1.weight"])


def test_a_run_of_it_is_continued_and_nothing_is_done_twice(state, said):
    flags = (*RUN, *ANN, *weights(state, "w.pth"))
    first = said(*flags)[1]
    code, again, error = said(*flags)
    assert (code, error) == (0, "")
    assert again.count("already finished") == 3
    assert again[again.index("network ") :] == first[first.index("network ") :]


def test_other_weights_are_another_run(state, said, refused):
    assert said(*RUN, "--until", "pretrain", *ANN, *weights(state, "w.pth"))[0] == 0
    assert "another weights" in refused(*RUN, *ANN, *weights(state, "v.pth"))
    assert "another ann" in refused(*RUN, "--weights", "w.pth")


def test_the_model_of_a_recipe_holds_the_options_of_the_factory(said):
    Path("small.toml").write_text(f'ann = "mynets:make"\nmodel.channels = 5\n{SMALL}')
    assert said(*RUN, "--until", "convert")[0] == 0
    assert load_file("there/ann.safetensors")["conv.weight"].shape[0] == 5
    assert said("evaluate", "there/converted.safetensors", *ANN)[0] == 0


def test_its_checkpoints_are_measured_given_the_factory(state, said, refused):
    assert said(*RUN, *ANN, *weights(state, "w.pth"))[0] == 0
    code, out, error = said("evaluate", "there/snn.safetensors", *ANN, "--limit", "4")
    assert (code, error) == (0, "")
    assert "over 4 test samples" in out
    assert said("evaluate", "there/snn.safetensors", "--ann=mynets:make", "--limit", "4")[1] == out
    assert "--ann package.module:factory" in refused("evaluate", "there/snn.safetensors")
    assert "no factory 'maek'" in refused("evaluate", "there/snn.safetensors", "--ann", "mynets:maek")
    assert "do not fit" in refused("evaluate", "there/snn.safetensors", "--ann", "mynets:narrow")
    assert said("info", "there/snn.safetensors")[0] == 0


def test_a_checkpoint_saved_by_hand_is_measured_given_the_factory(state, said):
    net = outside("mynets:make")
    checkpoint.save("own.safetensors", net, recipe={})
    code, _, error = said("evaluate", "own.safetensors", *ANN, "--data", "digits", "--protocol", "quick", "--limit", "4")
    assert (code, error) == (0, "")


class Code:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


WRONG = {
    "other.pth": (lambda state: create("digits", 10, 8, 1).state_dict(), "use weights of this architecture"),
    "wider.pth": (lambda state: state | {"fc2.bias": torch.zeros(20)}, r"fc2\.bias is \[20\], expected \[10\]"),
    "more.pth": (lambda state: state | {"fc3.bias": torch.zeros(20)}, r"fc3\.bias"),
    "code.pth": (lambda state: state | {"evil": Code()}, r"code\.pth"),
    "text.pth": (None, r"text\.pth"),
    "text.safetensors": (None, r"text\.safetensors"),
    "nowhere.pth": (None, r"nowhere\.pth"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_weights_are_one_line_and_nothing_is_begun(name, state, said, refused, here):
    make, complaint = WRONG[name]
    if make is not None:
        torch.save(make(state), name)
    elif name.startswith("text"):
        Path(name).write_text("no weights at all")
    before = sorted(here.iterdir())
    assert re.search(complaint, refused(*RUN, *ANN, "--weights", name))
    assert set(here.iterdir()) - {here / "__pycache__"} == set(before) - {here / "__pycache__"}
    assert said(*RUN, "--until", "pretrain", *ANN, *weights(state, "right.pth"))[0] == 0


@pytest.mark.parametrize(
    ("ann", "complaint"),
    [
        ("mynets", "write package.module:factory"),
        ("mynet:make", "No module named 'mynet'"),
        ("mynets:maek", "did you mean 'make'"),
        ("mynets:F", "no factory 'F'"),
        ("os:getcwd", "returns a str"),
        ("mynets:two_outputs", r"mynets:two_outputs.*returns (a )?tuple"),
        ("mynets:few_classes", r"mynets:few_classes.*labels go up to 7, but Sequential has logits for 0 \.\. 2 only"),
        ("mynets:colour", r"mynets:colour' on images \[2, 1, 8, 8\]"),
    ],
)
def test_an_ann_that_cannot_be_made_or_used_is_one_line_and_nothing_is_begun(ann, complaint, refused, here):
    assert re.search(complaint, refused(*RUN, "--ann", ann))
    assert not (here / "there").exists()


def test_a_run_knows_the_images_that_its_networks_take(state, said):
    assert said(*RUN, *ANN, *weights(state, "own.pth"))[0] == 0
    for network in ("converted", "snn"):
        assert checkpoint.read_header(f"there/{network}.safetensors").metrics["shape"] == [1, 8, 8]
    assert said("export", "there/snn.safetensors", "--out", "net.onnx", "--to", "onnx", *ANN)[::2] == (0, "")
    checkpoint.save("own.safetensors", checkpoint.load("there/snn.safetensors", outside(ANN[1])))
    assert "--shape 3 32 32" in said("export", "own.safetensors", "--out", "own.nir", *ANN)[2]


def test_a_packaged_network_may_begin_with_the_weights_of_another_run(said):
    assert said("run", "small.toml", "--until", "pretrain", "--out", "first")[0] == 0
    code, out, error = said(*RUN, "--weights", "first/ann.safetensors", "--seed", "7")
    assert (code, error) == (0, "")
    assert "small ANN: weights of first/ann.safetensors" in out
    assert stages() == ["convert", "finetune"]
    first, there = (load_file(f"{folder}/ann.safetensors") for folder in ("first", "there"))
    assert all(torch.equal(there[key], value) for key, value in first.items())
    assert said("evaluate", "there/snn.safetensors", "--limit", "4")[0] == 0


def test_a_baseline_with_a_training_of_its_own_does_not_begin_with_the_weights_of_the_run(state, said):
    Path("small.toml").write_text(SMALL + "baselines.natural.pretrain.lr = 0.01\nbaselines.unscaled.conversion.scale = 1\n")
    assert said(*RUN, "--until", "pretrain", *ANN, *weights(state, "w.pth"))[0] == 0
    ann, natural, unscaled = (load_file(f"there/{folder}ann.safetensors") for folder in ("", "natural/", "unscaled/"))
    assert torch.equal(unscaled["fc1.weight"], ann["fc1.weight"])
    assert not torch.equal(natural["fc1.weight"], ann["fc1.weight"])


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model", "net"])
def test_weights_may_lie_in_the_file_that_a_training_wrote(name, state, said):
    parallel = {f"module.{key}": value for key, value in state.items()}
    assert said(*RUN, "--until", "pretrain", *ANN, *weights({name: parallel, "epoch": 3, "optimizer": {}}, "w.pth"))[0] == 0
    assert torch.equal(load_file("there/ann.safetensors")["fc1.weight"], state["fc1.weight"])


PROBABILITIES = """
import torch

class Confident(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1)).relu().softmax(1)
"""


def test_strict_exits_with_3_where_the_audit_fails(here, said, monkeypatch):
    (here / "confident.py").write_text(PROBABILITIES)
    ann = ("--ann", "confident:Confident")
    monkeypatch.syspath_prepend(str(here))
    checkpoint.save("there/ann.safetensors", outside(ann[1]), {})
    few = (
        "--data",
        "digits",
        "--limit",
        "60",
        "--audit-images",
        "60",
        "--audit-steps",
        "3",
        "--audit-queries",
        "3",
        "--eps",
        "0.3",
    )
    code, out, error = said("evaluate", "there/ann.safetensors", *ann, *few, "--strict")
    assert (code, error) == (3, "")
    assert "check 'logits' failed" in out
    assert said("evaluate", "there/ann.safetensors", *ann, *few)[0] == 0
    assert said("evaluate", "there/ann.safetensors", *ann, "--limit", "4", "--audit-images", "0", "--strict")[0] == 2
    assert said("evaluate", "--strict", "there/ann.safetensors", *ann, *few, "--out", "kept")[0] == 3
    assert len(read_report(Path("kept/report.json").read_bytes(), "kept").rows[0].report.results[0].broken_by) == 60
    assert (here / "kept/report.html").exists()


def test_what_cannot_be_converted_is_refused_before_anything_is_trained(here, refused):
    (here / "curved.py").write_text(
        "import torch.nn as nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Sigmoid())\n"
    )
    assert "Sigmoid" in refused(*RUN, "--ann", "curved:make")
    assert not (here / "there").exists()


def test_weights_that_are_not_finite_are_refused_by_name(state, refused):
    weights(state, "w.pth")
    tensors = torch.load("w.pth", weights_only=True)
    first = next(iter(tensors))
    tensors[first].view(-1)[0] = torch.nan
    torch.save(tensors, "w.pth")
    assert "NaN or infinity" in refused(*RUN, *ANN, "--weights", "w.pth")
