"""From a checkpoint to a file, by function, by command, and as the page on export shows."""

import re
import shlex
from pathlib import Path

import pytest
import torch

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

from robustsnn import checkpoint  # noqa: E402
from robustsnn.cli import main  # noqa: E402
from robustsnn.conversion import spiking  # noqa: E402
from robustsnn.deploy import TARGETS, export  # noqa: E402
from robustsnn.models import create  # noqa: E402
from robustsnn.spiking import Dynamics  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs/export.md"
MODEL = {"name": "digits", "classes": 10, "size": 8, "channels": 1, "width": 0.25}

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A working folder with ``runs/digits/snn.safetensors`` and the ANN that it was made of."""
    monkeypatch.chdir(tmp_path)
    ann = create(**MODEL).eval()
    net = spiking(ann, torch.rand(2, 1, 8, 8), Dynamics(2), threshold=0.3)
    checkpoint.save("runs/digits/snn.safetensors", net, {"model": MODEL})
    checkpoint.save("runs/digits/ann.safetensors", ann, {"model": MODEL})
    checkpoint.save("runs/digits/foreign.safetensors", net, {})
    return Path("runs/digits")


def test_a_checkpoint_becomes_a_graph_of_its_images_shape(run):
    remarks = export(run / "snn.safetensors", "net.nir", target="snntorch")
    graph = nir.read("net.nir")
    assert graph.input_type["input"].tolist() == [1, 8, 8]
    assert tuple(graph.metadata["remarks"].splitlines()) == remarks


def test_a_checkpoint_of_a_foreign_body_wants_its_shape_and_body(run):
    with pytest.raises(ValueError, match="shape"):
        export(run / "foreign.safetensors", "net.nir")
    export(run / "foreign.safetensors", "net.nir", shape=(1, 8, 8), body=create(**MODEL))
    assert Path("net.nir").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["runs/digits/snn.safetensors", "--out", "x.nir", "--target", "snntorc"], "snntorch"),
        (["runs/digits/snn.safetensors", "--out", "x.nir", "--to", "onix"], "onnx"),
        (["runs/digits/ann.safetensors", "--out", "x.nir"], "holds an ANN"),
        (["runs/digits/none.safetensors", "--out", "x.nir"], "no checkpoint"),
        (["runs/digits/foreign.safetensors", "--out", "x.nir"], "shape"),
        ([], "usage"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(args, words, run, capsys):
    assert main(["export", *args]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert len(error.splitlines()) == 1
    assert words in error
    assert not Path("x.nir").exists()


def commands():
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("robustsnn ")]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_commands_of_the_page_do_what_it_says(command, run, capsys):
    if "onnx" in command:
        for package in ("onnx", "onnxscript"):
            pytest.importorskip(package, reason=f"{package} is not installed")
    assert main(command[1:]) == 0
    if command[1] == "export":
        assert Path(command[command.index("--out") + 1]).stat().st_size > 0
        assert "rounding: " in capsys.readouterr().out


def test_the_python_of_the_page_runs(run):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)
    assert int(names["graph"].metadata["timesteps"]) == 2


def test_the_page_names_every_target_and_no_other():
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.M)
    assert rows == list(TARGETS)
