"""Everything that has a name, with what a recipe or a flag writes for it, and what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import takewhile
from typing import Any

from safetensors import safe_open

from robustsnn.names import spelled, written
from robustsnn.recipes import load_recipe, packaged
from robustsnn.zoo import PREFIX, zoo


@dataclass(frozen=True)
class Entry:
    """Something with a name: what is written for it, and what it is in a line."""

    written: str
    about: str = ""


Entries = Mapping[str, Entry]


def _about(value: Any) -> str:
    """The first sentence that a value's kind says of itself."""
    text = (getattr(value, "func", value).__doc__ or "").split("\n\n")[0]
    return " ".join(text.split())


def _recipes() -> Entries:
    """Every recipe with the first sentence of its file."""
    return {name: Entry(name, _first(text)) for name, text in packaged().items()}


def _first(text: str) -> str:
    comment = " ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return comment.partition(". ")[0].rstrip(".")


def _baselines() -> Entries:
    """The runs that packaged recipes are compared with, as ``RECIPE:BASELINE``, and the keys in which they differ."""
    found = {}
    for name in packaged():
        for baseline, changes in load_recipe(name).baselines.items():
            keys = [f"{key}.{inner}" for key, value in changes.items() if isinstance(value, dict) for inner in value]
            keys += [key for key, value in changes.items() if not isinstance(value, dict)]
            found[f"{name}:{baseline}"] = Entry(f"{name}:{baseline}", f"differs in {', '.join(keys)}")
    return found


def _values(module: str, table: str) -> Entries:
    """Values that a recipe writes as constructor calls."""
    return {name: Entry(written(kind), _about(kind)) for name, kind in getattr(import_module(module), table).items()}


def _models() -> Entries:
    from robustsnn.models import MODELS

    return {name: Entry(name, _about(make) + _options(make)) for name, make in MODELS.items()}


def _options(make: Callable[..., Any]) -> str:
    """What a model of the table has fixed."""
    return f" {', '.join(map(str, make.args))}" if isinstance(make, partial) else ""


def _datasets() -> Entries:
    from robustsnn.data import DATASETS
    from robustsnn.data.sources import HUB

    return {name: Entry(name, f"{HUB[name].path} on the hub" if name in HUB else _about(DATASETS[name])) for name in DATASETS}


def _paths() -> Entries:
    from robustsnn.evaluation import PUBLISHED_PATHS, STRONGER_PATHS

    return {repr(path): Entry(repr(path), _about(type(path))) for path in (*PUBLISHED_PATHS, *STRONGER_PATHS)}


def _targets() -> Entries:
    from robustsnn.deploy import TARGETS

    return {name: Entry(name, "; ".join((target.label, *target.remarks))) for name, target in TARGETS.items()}


def _protocols() -> Entries:
    from robustsnn.evaluation import PROTOCOLS

    groups = {name: [group for each in protocol.ensembles.values() for group in each] for name, protocol in PROTOCOLS.items()}
    return {name: Entry(name, ", ".join(dict.fromkeys(group.name for group in each))) for name, each in groups.items()}


def _zoo() -> Entries:
    """Every network with the figures of its report, read from the header of its file alone."""
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
    "models": _models,
    "datasets": _datasets,
    "objectives": partial(_values, "robustsnn.training", "OBJECTIVES"),
    "regularizers": partial(_values, "robustsnn.training.regularizers", "REGULARIZERS"),
    "after_step": partial(_values, "robustsnn.training", "AFTER_STEP"),
    "stops": partial(_values, "robustsnn.training", "STOPS"),
    "attacks": partial(_values, "robustsnn.attacks", "ATTACKS"),
    "threats": partial(_values, "robustsnn.threats", "THREATS"),
    "surrogates": partial(_values, "robustsnn.spiking", "SURROGATES"),
    "paths": _paths,
    "targets": _targets,
    "zoo": _zoo,
    "protocols": _protocols,
}
"""What can be listed."""
