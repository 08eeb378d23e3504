"""From a checkpoint to a file, by function and by command."""

import re
from pathlib import Path

import pytest

from pages import MODEL, tiny_run

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

from robustsnn import checkpoint  # noqa: E402
from robustsnn.cli import main  # noqa: E402
from robustsnn.deploy import TARGETS, export  # noqa: E402
from robustsnn.models import create  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs/export.md"

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A working folder with ``runs/digits/snn.safetensors`` and the ANN that it was made of."""
    monkeypatch.chdir(tmp_path)
    tiny_run(Path("runs/digits"))
    checkpoint.save("runs/digits/foreign.safetensors", checkpoint.load("runs/digits/snn.safetensors"), {})
    return Path("runs/digits")


def test_a_checkpoint_becomes_a_graph_of_its_images_shape(run):
    remarks = export(run / "snn.safetensors", "net.nir", target="snntorch")
    graph = nir.read("net.nir")
    assert graph.input_type["input"].tolist() == [1, 8, 8]
    assert tuple(graph.metadata["remarks"].splitlines()) == remarks


def test_a_checkpoint_of_a_foreign_body_wants_its_shape_and_body(run):
    with pytest.raises(ValueError, match=r"--shape 3 32 32, and its body, as in --ann package.module:factory"):
        export(run / "foreign.safetensors", "net.nir")
    export(run / "foreign.safetensors", "net.nir", shape=(1, 8, 8), body=create(**MODEL))
    assert Path("net.nir").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["runs/digits/snn.safetensors", "--out", "x.nir", "--target", "snntorc"], "snntorch"),
        (["runs/digits/snn.safetensors", "--out", "x.nir", "--to", "onix"], "onnx"),
        (["runs/digits/snn.safetensors", "--out", "x.nir", "--to", "onnx", "--target", "norse"], "applies to NIR files only"),
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


def test_the_command_says_in_what_the_file_differs(run, capsys):
    assert main(["export", "runs/digits/snn.safetensors", "--out", "net.nir"]) == 0
    assert Path("net.nir").stat().st_size > 0
    assert "rounding: " in capsys.readouterr().out


def test_the_page_names_every_target_and_no_other():
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.M)
    assert rows == list(TARGETS)
