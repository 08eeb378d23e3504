"""The catalogue of 'robustsnn list': everything with a name, how to write it in a recipe, and its description."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import takewhile
from typing import Any

from safetensors import safe_open

from robustsnn.names import spelled
from robustsnn.recipes import load_recipe, packaged
from robustsnn.zoo import PREFIX, zoo


@dataclass(frozen=True)
class Entry:
    """A named thing: how to write it in a recipe or flag, and a one-line description."""

    written: str
    about: str = ""


Entries = Mapping[str, Entry]


def _about(value: Any) -> str:
    """Return the first paragraph of a docstring, and the arguments that a partial function fixes."""
    text = (getattr(value, "func", value).__doc__ or "").split("\n\n")[0].removeprefix("Return a ").replace("`", "")
    return " ".join((*text.split(), ", ".join(map(str, getattr(value, "args", ()))))).rstrip()


def _table(module: str, table: str, about: Callable[[Any], str] = _about) -> Entries:
    """Return the entries of a module's table: classes as written in a recipe, everything else by name."""
    found = getattr(import_module(module), table).items()
    return {name: Entry(spelled(value) if isinstance(value, type) else name, about(value)) for name, value in found}


def _recipes() -> Entries:
    """Return every packaged recipe with the first sentence of its file."""
    found = {}
    for name, text in packaged().items():
        comment = " ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))
        found[name] = Entry(name, comment.partition(". ")[0].rstrip("."))
    return found


def _baselines() -> Entries:
    """Return the baselines of packaged recipes, as ``RECIPE:BASELINE``, with their changed keys."""
    found = {}
    for name in packaged():
        for baseline, changes in load_recipe(name).baselines.items():
            keys = [f"{key}.{inner}" for key, value in changes.items() if isinstance(value, dict) for inner in value]
            keys += [key for key, value in changes.items() if not isinstance(value, dict)]
            found[f"{name}:{baseline}"] = Entry(f"{name}:{baseline}", f"changes {', '.join(keys)}")
    return found


def _paths() -> Entries:
    from robustsnn.evaluation import PUBLISHED_PATHS, STRONGER_PATHS

    return {repr(path): Entry(repr(path), _about(type(path))) for path in (*PUBLISHED_PATHS, *STRONGER_PATHS)}


def _source(dataset: Callable[[], Any]) -> str:
    return f"{dataset.args[1].path} on the hub" if isinstance(dataset, partial) else _about(dataset)


def _attacks(protocol: Any) -> str:
    return ", ".join(dict.fromkeys(group.name for groups in protocol.ensembles.values() for group in groups))


def _zoo() -> Entries:
    """Return every network of the zoo with its accuracies, read from the header of its file."""
    found = {}
    for name, file in zoo().items():
        with safe_open(str(file), framework="numpy") as opened:
            header = {key: json.loads(text) for key, text in opened.metadata().items() if key in ("recipe", "metrics")}
        measured = header["metrics"]["report"]["rows"][0]["report"]
        results = measured["measured"]["worst_case"]["results"]
        strongest = [result for result in results if result["attack"] == results[-1]["attack"]]
        shares = [
            f"{result['broken_by'].count(-1) / measured['images']:.1%} at {spelled(result['eps'])}" for result in strongest
        ]
        clean = 1 - results[0]["broken_by"].count(-2) / measured["images"]
        told = f"{header['recipe']['data']['name']}, T = {measured['timesteps']}: clean {clean:.1%}"
        found[f"{PREFIX}{name}"] = Entry(f"{PREFIX}{name}", f"{told}, {results[-1]['attack']} {', '.join(shares)}")
    return found


KINDS: dict[str, Callable[[], Entries]] = {
    "recipes": _recipes,
    "baselines": _baselines,
    "models": partial(_table, "robustsnn.models", "MODELS"),
    "datasets": partial(_table, "robustsnn.data", "DATASETS", _source),
    "objectives": partial(_table, "robustsnn.training", "OBJECTIVES"),
    "regularizers": partial(_table, "robustsnn.training.regularizers", "REGULARIZERS"),
    "after_step": partial(_table, "robustsnn.training", "AFTER_STEP"),
    "stops": partial(_table, "robustsnn.training", "STOPS"),
    "attacks": partial(_table, "robustsnn.attacks", "ATTACKS"),
    "certificates": partial(_table, "robustsnn.certification", "METHODS"),
    "threats": partial(_table, "robustsnn.threats", "THREATS"),
    "surrogates": partial(_table, "robustsnn.spiking", "SURROGATES"),
    "paths": _paths,
    "targets": partial(_table, "robustsnn.deploy", "TARGETS", lambda target: "; ".join((target.label, *target.remarks))),
    "zoo": _zoo,
    "protocols": partial(_table, "robustsnn.evaluation", "PROTOCOLS", _attacks),
}
"""The kinds of things that can be listed."""
