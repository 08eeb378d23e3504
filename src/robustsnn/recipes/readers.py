"""Validators of a recipe's texts; the modules that parse them are imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

from pydantic import AfterValidator

from robustsnn.lazy import later
from robustsnn.names import build, find

attack, kind, threat = (
    later("robustsnn.attacks", "attack"),
    later("robustsnn.threats", "kind"),
    later("robustsnn.threats", "threat"),
)
check_name, protocol = later("robustsnn.data", "check_name"), later("robustsnn.evaluation", "protocol")
objective = later("robustsnn.training", "objective")


def _read_by(read: Callable[[str], object], *, optional: bool = False) -> Any:
    """Return a validator for texts that ``read`` accepts; an optional key may be empty."""

    def check(text: str) -> str:
        if text or not optional:
            read(text)
        return text

    return AfterValidator(check)


def _each_read_by(read: Callable[[str], object]) -> Any:
    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            read(text)
        return texts

    return AfterValidator(check)


def _among(read: Callable[..., Any], kind: str, module: str, table: str) -> Callable[[str], Any]:
    """Return a function that looks a text up in a module's table, or builds a value from it."""
    return lambda text: read(kind, getattr(import_module(module), table), text)


after_step = _among(build, "after_step", "robustsnn.training", "AFTER_STEP")
stop = _among(build, "stop", "robustsnn.training", "STOPS")
surrogate = _among(build, "surrogate", "robustsnn.spiking", "SURROGATES")
neuron = _among(build, "neuron", "robustsnn.spiking", "NEURONS")
model = _among(find, "model", "robustsnn.models", "MODELS")

SpelledObjective = Annotated[str, _read_by(objective)]
SpelledProbe = Annotated[str, _read_by(attack, optional=True)]
KnownData = Annotated[str, _read_by(check_name)]
SpelledThreat = Annotated[str, _read_by(threat)]
KnownModel = Annotated[str, _read_by(model)]
SpelledSurrogate = Annotated[str, _read_by(surrogate)]
SpelledActs = Annotated[tuple[str, ...], _each_read_by(after_step)]
SpelledStop = Annotated[str, _read_by(stop, optional=True)]
