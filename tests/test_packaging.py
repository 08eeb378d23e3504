"""What is published agrees with what the repository says: versions, bounds, extras, and the files of distributions."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import robustsnn
from robustsnn.zoo import WHEEL_ONLY, located, zoo

HOME = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())
PROJECT, HATCH = PYPROJECT["project"], PYPROJECT["tool"]["hatch"]
EXTRAS = PROJECT["optional-dependencies"]


def text(name: str) -> str:
    return (HOME / name).read_text(encoding="utf-8")


def pins(constraints: str) -> dict[str, str]:
    """The pinned versions, by normalised name."""
    found = re.findall(r"^([\w.-]+)==(\S+)", constraints, re.M)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def sdist() -> list[str]:
    """The files that the build backend itself selects for a source distribution."""
    builder = pytest.importorskip("hatchling.builders.sdist").SdistBuilder(str(HOME))
    return [file.distribution_path for file in builder.recurse_included_files()]


def test_the_version_stands_in_one_place_and_others_follow():
    assert PROJECT["dynamic"] == ["version"]
    assert HATCH["version"] == {"path": str(Path("src/robustsnn/__init__.py"))}
    assert f"\nversion: {robustsnn.__version__}\n" in text("CITATION.cff")
    assert re.search(rf"^## {re.escape(robustsnn.__version__)}\b", text("CHANGELOG.md"), re.M)


def test_the_software_itself_is_cited():
    """A preferred citation would hide it."""
    cited = text("CITATION.cff")
    assert "\ntype: software\n" in cited
    assert "preferred-citation" not in cited
    assert PROJECT["urls"]["Paper"] in cited


def test_a_source_distribution_is_small_and_complete():
    files = sdist()
    assert sum((HOME / file).stat().st_size for file in files) < 4_000_000, "compressed it must stay below 2 MB"
    assert not [file for file in files if file.startswith("benchmarks/") and file.endswith((".json", ".safetensors"))]
    wanted = {*(HOME / "src").rglob("*.py"), *(HOME / "src").rglob("*.toml"), *(HOME / "src").rglob("*.jinja")}
    wanted |= {HOME / name for name in ("README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "constraints.txt")}
    assert {str(path.relative_to(HOME)) for path in wanted} <= set(files)


def test_the_source_distribution_leaves_out_the_networks_that_say_so():
    """Without the build backend, too: nothing else of the package is excluded."""
    files = {name: f"/{path.relative_to(HOME)}" for name, path in zoo().items()}
    patterns = HATCH["build"]["targets"]["sdist"]["exclude"]
    assert {name for name, file in files.items() if any(fnmatch(file, pattern) for pattern in patterns)} == set(WHEEL_ONLY)
    assert [pattern for pattern in patterns if pattern.startswith("/src/")] == [files[name] for name in WHEEL_ONLY]
    assert sum(located(f"zoo:{name}").stat().st_size for name in files if name not in WHEEL_ONLY) < 1_000_000


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("command", ["evaluate", "info"])
def test_a_network_that_the_installation_lacks_is_explained(command, monkeypatch, refused):
    there = {name: file for name, file in zoo().items() if name not in WHEEL_ONLY}
    monkeypatch.setattr("robustsnn.zoo.zoo", lambda: there)
    line = refused(command, f"zoo:{WHEEL_ONLY[0]}")
    assert f"zoo:{WHEEL_ONLY[0]} is not in this installation" in line
    assert "wheel" in line
    assert "clone" in line
    with pytest.raises(ValueError, match="unknown network of the zoo"):
        located("zoo:cifar10-rubost")


def test_the_oldest_versions_are_the_lower_bounds():
    bounds = {}
    for line in [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]:
        if found := re.match(r"([\w.-]+)>=([\d.]+)", line):
            bounds[found[1].lower()] = [int(part) for part in found[2].split(".")]
    ours, theirs = text("constraints-oldest.txt").split("# Not dependencies")
    pinned = {package: [int(part) for part in version.split(".")] for package, version in pins(ours).items()}
    assert pinned == {package: (bounds[package] + [0, 0])[:3] for package in pinned}
    used = [
        line for lines in (PROJECT["dependencies"], *map(EXTRAS.get, ("datasets", "hub", "nir", "onnx"))) for line in lines
    ]
    assert {re.match(r"[\w.-]+", line)[0].lower() for line in used} <= pinned.keys()
    assert not pins(theirs).keys() & bounds.keys()


def test_ci_tests_the_pythons_that_are_claimed():
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    (matrix,) = re.findall(r"python: \[(.*)\]", text(".github/workflows/ci.yml"))
    assert re.findall(r"[\d.]+", matrix) == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_commits_are_checked_by_the_ruff_of_the_project():
    assert f"rev: v{pins(text('constraints.txt'))['ruff']} " in text(".pre-commit-config.yaml")


def test_extras_that_are_named_exist():
    """In sentences, messages and workflows; tests/test_docs.py runs the blocks of pages."""
    pages = ["Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "constraints-oldest.txt", ".github/workflows/ci.yml"]
    files = [*map(HOME.joinpath, pages), *(HOME / "docs").rglob("*.md"), *(HOME / "src").rglob("*.py")]
    written = {file: re.findall(r"['\"](?:robustsnn|\.)\[([\w,]+)\]['\"]", file.read_text(encoding="utf-8")) for file in files}
    assert any(written.values())
    for file, found in written.items():
        assert {extra for extras in found for extra in extras.split(",")} <= EXTRAS.keys(), file
