"""Everything that has a name, with what a recipe or a flag may write for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from robustsnn.attacks import ATTACKS
from robustsnn.data import DATASETS
from robustsnn.deploy import TARGETS
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS, STRONGER_PATHS, Protocol
from robustsnn.models import MODELS
from robustsnn.names import written
from robustsnn.recipes import load_recipe, packaged
from robustsnn.spiking import SURROGATES
from robustsnn.threats import THREATS
from robustsnn.training import AFTER_STEP, OBJECTIVES, STOPS
from robustsnn.training.regularizers import REGULARIZERS
from robustsnn.zoo import PREFIX, zoo

Lines = Mapping[str, str]
"""Names, each with the line that says it."""


def _names(names: Iterable[str]) -> Lines:
    return {name: name for name in names}


def _values(table: Mapping[str, Callable[..., Any]]) -> Lines:
    return {name: written(kind) for name, kind in table.items()}


def _attacks(protocol: Protocol) -> str:
    return ", ".join(dict.fromkeys(group.name for groups in protocol.ensembles.values() for group in groups))


def baselines() -> Lines:
    """The runs that packaged recipes are compared with, as ``RECIPE:BASELINE``, and the keys in which they differ."""
    found = {}
    for name in packaged():
        for baseline, changes in load_recipe(name).baselines.items():
            keys = [f"{key}.{inner}" for key, value in changes.items() if isinstance(value, dict) for inner in value]
            keys += [key for key, value in changes.items() if not isinstance(value, dict)]
            found[f"{name}:{baseline}"] = f"{name}:{baseline} differs in {', '.join(keys)}"
    return found


KINDS: dict[str, Callable[[], Lines]] = {
    "recipes": lambda: _names(packaged()),
    "baselines": baselines,
    "models": lambda: _names(MODELS),
    "datasets": lambda: _names(DATASETS),
    "objectives": lambda: _values(OBJECTIVES),
    "regularizers": lambda: _values(REGULARIZERS),
    "after_step": lambda: _values(AFTER_STEP),
    "stops": lambda: _values(STOPS),
    "attacks": lambda: _values(ATTACKS),
    "threats": lambda: _values(THREATS),
    "surrogates": lambda: _values(SURROGATES),
    "paths": lambda: _names(repr(path) for path in (*PUBLISHED_PATHS, *STRONGER_PATHS)),
    "targets": lambda: _names(TARGETS),
    "zoo": lambda: _names(f"{PREFIX}{name}" for name in zoo()),
    "protocols": lambda: {name: f"{name}: {_attacks(protocol)}" for name, protocol in PROTOCOLS.items()},
}
"""What can be listed."""
