"""What the pages show is what happens: every Python block of every page runs, and so do the notebooks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
OPTIONAL = {"art", "foolbox", "snntorch", "spikingjelly", "torchattacks"}
"""Libraries that a page may show and that need not be there."""


def python(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


PAGES = [page for page in sorted((HOME / "docs").glob("*.md")) if python(page)]
NOTEBOOKS = sorted((HOME / "docs/notebooks").glob("*.py"))


def run(codes, where):
    """One block after the other, in the same names; what an optional library is missing for is skipped."""
    names = {"__name__": "__main__"}
    try:
        for code in codes:
            exec(compile(code, str(where.name), "exec"), names)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in OPTIONAL:
            pytest.skip(f"{where.name} needs {error.name}")
        raise
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("unchecked")
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(python(page), page)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
@pytest.mark.usefixtures("unchecked")
def test_a_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = notebook.read_text(encoding="utf-8")
    cells = re.split(r"^# %%.*\n", text, flags=re.M)[1:]
    kinds = re.findall(r"^# %%(.*)\n", text, flags=re.M)
    assert {kind.strip() for kind in kinds} == {"", "[markdown]"}
    for kind, cell in zip(kinds, cells, strict=True):
        if "markdown" in kind:
            assert all(line.startswith("#") or not line for line in cell.splitlines()), cell
    run([cell for kind, cell in zip(kinds, cells, strict=True) if "markdown" not in kind], notebook)


def test_there_are_pages_and_notebooks():
    assert {page.name for page in PAGES} >= {"evaluate-your-own.md", "interop.md"}
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("page", [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
