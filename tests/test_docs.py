"""What the pages show is what happens: every block and every command of every page is done, and so are the notebooks."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot
import pytest
import torch
from benchmarks import bring

import pages
from pages import HOME, blocks
from robustsnn import cli
from robustsnn.cli.arguments import Certify, Evaluate, Export, Run
from robustsnn.cli.parse import for_protocol, parse
from robustsnn.evaluation import MEASURES
from robustsnn.recipes import load_recipe
from robustsnn.training import Natural, Schedule, train

PAGES = [HOME / "README.md", HOME / "CONTRIBUTING.md", *sorted((HOME / "docs").glob("*.md"))]
NOTEBOOKS = sorted((HOME / "docs/notebooks").glob("*.ipynb"))
named = {"ids": lambda page: page.name}

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A small world with what pages take for granted: a run of the digits, and an ANN of the reader's own."""
    (tmp_path / "mynets.py").write_text(MYNETS)
    make = {}
    exec(MYNETS, make)
    torch.save(make["make"]().state_dict(), tmp_path / "mine.pth")
    before = dict(MEASURES)
    with pages.small_world(tmp_path, monkeypatch):
        yield tmp_path
    for name in MEASURES.keys() - before:  # of a page, which other tests would measure too
        del MEASURES[name]


MYNETS = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) or pages.inside(page)], **named)
def test_what_a_page_shows_is_done(page, world):
    if not re.search(r"robustsnn run digits --out runs/digits\s", page.read_text(encoding="utf-8")):  # else the page makes it
        pages.tiny_run(world / "runs/digits")
    pages.follow(page, skip=("python",) if page.name == "README.md" else ())  # its Python: tests/test_readme.py


@pytest.mark.parametrize("page", [page for page in PAGES if pages.flags(page)], **named)
def test_a_flag_that_a_page_names_is_one(page):
    """Of ``run``, ``evaluate``, ``certify`` or ``export``."""
    recipe = load_recipe("digits")
    for text in pages.flags(page):
        words, refused = shlex.split(text), []
        if words[0] in ("--help", "--help-all"):
            continue
        settings = for_protocol(recipe.evaluation, words)
        run = Run("digits", recipe.model_copy(update={"evaluation": settings}))
        for default in (run, Evaluate("snn.safetensors", settings), *OTHERS):
            try:
                parse(default, [*words, *VALUES.get(text, ["1"])] if len(words) == 1 else words, "robustsnn")
            except ValueError as error:
                refused.append(str(error))
        assert len(refused) < 4, (text, refused)


OTHERS = Certify("snn.safetensors"), Export("snn.safetensors")
VALUES = {"--memory": ["1GiB"], "--logger": ["csv"], "--compare": [], "--conversion.max_pool": [], "--until": ["convert"]}
SWITCHES = ("--deterministic", "--recompute", "--strict", "--json", "--system-allocator", "--quiet", "--verbose")
VALUES |= {"--shape": ["1", "8", "8"]}
VALUES |= {switch: [] for switch in SWITCHES}
"""What stands behind a flag that a page names alone, where it is not a 1."""


def test_a_page_that_shows_what_fails_is_found_out(world):
    for shown in ("```python\nassert False\n```", "```sh\nrobustsnn run digit\n```", "`robustsnn info none.safetensors`"):
        (world / "page.md").write_text(shown + "\n")
        with pytest.raises(AssertionError):
            pages.follow(world / "page.md")


@pytest.mark.parametrize("notebook", NOTEBOOKS, **named)
def test_a_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.run(["".join(cell["source"]) for cell in cells(notebook)], notebook)
    matplotlib.pyplot.close("all")


def cells(notebook):
    """The cells of code."""
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, **named)
def test_a_notebook_holds_its_outputs(notebook):
    """Of one run from top to bottom, without errors, warnings and paths of the machine; `make notebooks` writes them."""
    assert notebook.stat().st_size < 300_000
    assert [cell["execution_count"] for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
    outputs = [output for cell in cells(notebook) for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    assert {output["name"] for output in outputs if "name" in output} == {"stdout"}
    assert not re.search(r"/(?:home|root|tmp|Users|work)/", json.dumps(outputs))
    drawn = [cell for cell in cells(notebook) if any("data" in output for output in cell["outputs"])]
    assert drawn
    assert all(cell["metadata"]["mystnb"]["image"]["alt"] for cell in drawn)


def test_there_are_pages_and_notebooks():
    written = {"tutorial", "method", "evaluate-your-own", "threat-model", "is-my-number-right", "add-your-own", "performance"}
    written |= {"scaling", "faq"}
    assert {page.stem for page in PAGES} >= written
    assert len(NOTEBOOKS) == 3


def test_what_one_can_bring_is_what_the_tables_say():
    assert bring.PAGE.read_text(encoding="utf-8") == bring.page()


def test_the_readme_leads_to_every_page():
    linked = re.findall(r"\]\((docs/[\w-]+\.md)\)", (HOME / "README.md").read_text(encoding="utf-8"))
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} - {"docs/index.md"} <= set(linked)


@pytest.mark.parametrize("page", PAGES, **named)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_run_that_is_stopped_says_and_does_what_the_tutorial_tells(world, monkeypatch, capsys):
    """Ctrl-C in the middle of pre-training; the same command then ends the run."""
    command = ["run", "digits", "--out", "runs/digits"]
    command += pages.small(command)
    stopped = {"now": True}

    def step(run, what, share):
        if stopped.pop("now", False):
            raise KeyboardInterrupt

    monkeypatch.setattr("robustsnn.cli.terminal.Terminal.progress", step)
    assert cli.main(command) == 130
    (said,) = (text.strip() for language, text in blocks(HOME / "docs/tutorial.md") if language == "text")
    assert capsys.readouterr().err.strip() == said
    assert not Path("runs/digits/ann.safetensors").exists()
    assert cli.main(command) == 0
    assert Path("runs/digits/report.html").exists()


def trained(logger, ann):
    """Two epochs under one of lightning's loggers."""
    pixels = torch.rand(8, 2, 8, 8)
    images = pages.Samples(pixels, torch.arange(8) % 4, classes=4)
    told = []

    def log(epoch):
        told.append(asdict(epoch))
        logger.log_metrics(told[-1], step=epoch.epoch)

    train(ann, images, images, Natural(), Schedule(epochs=2, lr=0.01), probe=None, on_epoch=log)
    logger.finalize("success")
    return told


def test_epochs_go_to_a_csv_file_of_lightning(ann, tmp_path):
    loggers = pytest.importorskip("lightning_fabric.loggers", reason="lightning-fabric is not installed")
    told = trained(loggers.CSVLogger(tmp_path, name="run"), ann)
    with (tmp_path / "run/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 1]
    assert [float(row["loss"]) for row in rows] == [epoch["loss"] for epoch in told]


def test_epochs_go_to_tensorboard(ann, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    from lightning_fabric.loggers import TensorBoardLogger

    trained(TensorBoardLogger(tmp_path, name="run"), ann)
    assert [file for file in (tmp_path / "run/version_0").iterdir() if file.stat().st_size]
