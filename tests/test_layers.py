"""The house's plan, read off the source: who may import whom, and what may stand nowhere."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src/robustsnn"
FLOORS = [
    {"cli"},
    {"recipes"},
    {"reporting"},
    {"deploy"},
    {"evaluation"},
    {"training"},
    {"checkpoint", "certification"},
    {"conversion"},
    {"data"},
    {"models"},
    {"attacks"},
    {"spiking", "settings"},
    {"threats", "compute"},
    {"allocator", "files", "history", "lazy", "names", "processes", "progress", "ranges", "seeds", "types", "zoo"},
]
ENTRY, GROUND = FLOORS[0], FLOORS[-1]
ALL = {name for names in FLOORS for name in names}
KNOWS = {
    "cli": ALL - {"cli", "conversion", "types"},
    "recipes": ALL - {"cli", "certification", "compute", "recipes", "deploy", "types"},
    "reporting": {"certification", "evaluation", "threats"},
    "deploy": {"checkpoint", "evaluation", "spiking", "conversion", "models", "compute"},  # a card holds a report
    "evaluation": {"settings", "attacks", "threats", "spiking", "compute", "conversion", "data", "models"},
    "training": {"certification", "compute", "threats", "models", "spiking", "attacks", "conversion", "data"},
    "certification": {"attacks", "compute", "conversion", "data", "models", "spiking", "threats"},
    "checkpoint": {"models", "conversion", "spiking", "compute"},  # how a body is copied
    "conversion": {"compute", "spiking", "models", "data"},
    "data": {"compute"},
    "models": {"compute"},
    "attacks": {"compute", "threats"},
    "spiking": {"compute"},
    "compute": set(),
    "threats": set(),
    "settings": {"threats"},
    "seeds": {"types"},
    "zoo": {"names"},
    **{name: set() for name in ("allocator", "files", "history", "lazy", "names", "processes", "progress", "ranges", "types")},
}
"""What a room may know besides the ground: what the floors alone would let in too."""
FILES = sorted(SOURCE.rglob("*.py"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))


def room(file):
    """The first part of the module path inside the package: ``spiking`` for ``spiking/neuron.py``."""
    return file.relative_to(SOURCE).with_suffix("").parts[0]


def floor(name):
    """0 is the top."""
    return next(level for level, names in enumerate(FLOORS) if name in names)


LATE = {("evaluation/report.py", "reporting"), ("certification/task.py", "reporting"), ("spiking/network.py", "deploy")}
"""Imports from a higher room, made inside a function: `Report.save` draws its pages, `Certificates` shows its table,
`push_to_hub` writes a card."""


def imported(file):
    """The rooms that a file imports from, ``__init__`` for the package itself."""
    for room in _imported(file):
        if (str(file.relative_to(SOURCE)), room) not in LATE:
            yield room


def _imported(file):
    package = ["robustsnn", *file.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            modules = [f"{module}.{alias.name}" for alias in node.names] if module == "robustsnn" else [module]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"robustsnn(\.\w+)+", str(node.value)):
            modules = [str(node.value)]  # imported later, by its name
        else:
            continue
        for module in modules:
            if module.split(".")[0] == "robustsnn":
                first = module.split(".")[1] if "." in module else "__init__"
                yield first if any(first in names for names in FLOORS) else "__init__"


def calls(tree):
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_every_file_belongs_to_a_floor():
    known = set.union(*FLOORS) | {"__init__", "__main__"}
    homeless = [str(file.relative_to(SOURCE)) for file in FILES if room(file) not in known]
    assert not homeless, f"{homeless} belong to no floor of the plan: put them into a room, or the room into FLOORS"


@every_file
def test_imports_point_down(file):
    mine = room(file)
    if mine in ("__init__", "__main__"):
        return
    for other in imported(file):
        assert other != "__init__", "the package as a whole is above every room: import from the room itself"
        lower = floor(other) > floor(mine)
        assert lower or other == mine or {mine, other} <= GROUND, f"{mine} must not import {other}, which stands no lower"


@every_file
def test_a_room_knows_no_more_than_it_has_to(file):
    mine = room(file)
    if mine not in ("__init__", "__main__"):
        unknown = set(imported(file)) - {mine} - KNOWS[mine] - (set() if mine in GROUND else GROUND)
        assert not unknown, (
            f"{mine} is to know nothing of {', '.join(unknown)}: move what it needs, or change KNOWS and say why"
        )


def test_no_room_may_know_what_it_does_not_use():
    """The table is as tight as the code: an arrow that is gone stays gone."""
    used = {name: {other for file in FILES if room(file) == name for other in imported(file)} for name in KNOWS}
    assert KNOWS.keys() == ALL
    kept = {name: sorted(known - used[name] - GROUND) for name, known in KNOWS.items()}
    assert {name: arrows for name, arrows in kept.items() if arrows} == {}


@every_file
def test_files_stay_short(file):
    assert len(file.read_text().splitlines()) <= 260


@every_file
def test_library_code_prints_nothing(file):
    if room(file) not in ENTRY:
        assert "print" not in calls(ast.parse(file.read_text()))


SEEDING = re.compile(r"(\w+\.)*(manual_seed(_all)?|set_rng_state(_all)?|fork_rng)|(torch\.(\w+\.)*|random\.)seed(_all)?")
NUMPY = re.compile(r"(np|numpy)\.random\.(?!default_rng|Generator)\w+")
DRAWS = re.compile(
    r"torch\.((rand|randn|randint)(_like)?|randperm|normal|poisson)|.*\.(bernoulli|multinomial)"
    r"|.*\.(uniform|normal|random|bernoulli|exponential|geometric|cauchy|log_normal|trunc_normal|orthogonal|sparse)_"
    r"|.*\.(kaiming|xavier)_(uniform|normal)_|(F|.*functional)\.\w*dropout\w*"
)


def globally_random(tree):
    """Calls that seed a global generator, or draw from one."""
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call, name in ((call, ast.unparse(call.func)) for call in made):
        drawn = DRAWS.fullmatch(name) and "generator" not in [keyword.arg for keyword in call.keywords]
        if drawn or SEEDING.fullmatch(name) or NUMPY.fullmatch(name):
            yield name


@every_file
def test_library_code_neither_seeds_nor_draws_from_the_global_generators(file):
    found = set(globally_random(ast.parse(file.read_text())))
    if file.name == "seeds.py":
        found -= {"torch.random.fork_rng", "torch.set_rng_state", "torch.cuda.manual_seed"}  # the scope `randomness`
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        *(
            "torch.manual_seed(0)",
            "torch.cuda.manual_seed_all(0)",
            "torch.seed()",
            "torch.random.fork_rng()",
            "random.seed(0)",
        ),
        *("np.random.rand(3)", "torch.rand(3)", "torch.randn_like(x)", "torch.randperm(3)", "torch.multinomial(x, 1)"),
        *("x.bernoulli_(0.5)", "x.uniform_()", "nn.init.kaiming_normal_(x)", "F.dropout(x)", "torch.set_rng_state(state)"),
    ],
)
def test_global_randomness_would_be_seen(line):
    assert [*globally_random(ast.parse(line))] == [line.partition("(")[0]]


@pytest.mark.parametrize(
    "line",
    [
        *("torch.rand(3, generator=rng)", "noise(rng).normal(x)", "nn.init.uniform_(x, -1, 1, generator=rng)"),
        *("torch.Generator().manual_seed(0)", "np.random.default_rng(0)", "nn.init.zeros_(x)"),
    ],
)
def test_randomness_as_an_argument_is_none(line):
    assert [*globally_random(ast.parse(line))] == []


@every_file
def test_nothing_is_pickled(file):
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert "torch.save" not in calls(ast.parse(file.read_text()))
    loads = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    loads = [ast.unparse(node) for node in loads if ast.unparse(node.func) == "torch.load"]
    assert [load for load in loads if "weights_only=True" not in load] == []


@every_file
def test_nothing_is_left_to_be_done(file):
    text = file.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert not re.search(r"\bNotImplemented(Error)?\b", text)


def test_a_wrong_import_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    file = tmp_path / "spiking" / "neuron.py"
    file.parent.mkdir()
    lines = [
        "import robustsnn.training.loop",
        "from robustsnn import cli, __version__",
        "from ..data import Images",
        "import torch",
    ]
    lines.append('build = later("robustsnn.models", "create")')
    file.write_text("\n".join(["from __future__ import annotations", *lines]))
    assert sorted(imported(file)) == sorted(["training", "cli", "__init__", "data", "models"])
