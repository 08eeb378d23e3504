"""The API reference has one entry for every public name. The pages are read, not built: `make docs` builds them."""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

import robustsnn

PAGES = Path(__file__).parents[1] / "docs/reference"
FOUND = (module.name for module in pkgutil.walk_packages(robustsnn.__path__, "robustsnn.") if module.ispkg)
PACKAGES = ["robustsnn", *(name for name in FOUND if hasattr(import_module(name), "__all__"))]


def page(package: str) -> Path:
    """The page of a package: ``training.rst`` for ``robustsnn.training``."""
    return PAGES / f"{package.removeprefix('robustsnn.')}.rst"


def entries(package: str) -> list[str]:
    """The names that a page documents."""
    return re.findall(r"^\.\. auto(?:class|data|function):: (\w+)$", page(package).read_text(encoding="utf-8"), re.M)


def linked(package: str) -> list[str]:
    """The full names whose entries are on other pages."""
    return re.findall(r":py:obj:`~([\w.]+)`", page(package).read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_page_covers_every_public_name_of_its_package(package):
    assert f".. automodule:: {package}\n" in page(package).read_text(encoding="utf-8")
    covered = entries(package) + [name.rpartition(".")[2] for name in linked(package)]
    assert Counter(covered) == Counter(import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_has_its_entry_elsewhere_is_the_same_object(package):
    for full in linked(package):
        other, _, name = full.rpartition(".")
        assert name in entries(other)
        assert getattr(import_module(other), name) is getattr(import_module(package), name)


def test_every_object_has_one_entry():
    """An object is a name where it is defined: a function has a module, a table its identity."""
    found = [(name, getattr(import_module(package), name)) for package in PACKAGES for name in entries(package)]
    objects = Counter((name, getattr(value, "__module__", None) or id(value)) for name, value in found)
    assert [name for (name, _), count in objects.items() if count > 1] == []
    assert len(objects) > 200


def test_every_page_is_that_of_a_package():
    assert {file.name for file in PAGES.glob("*.rst")} == {page(package).name for package in PACKAGES}
