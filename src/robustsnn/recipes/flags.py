"""The keys of a recipe as flags: read by tyro, complained about in one line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel, ValidationError

from robustsnn.recipes.recipe import Recipe, explain, from_table, load_recipe
from robustsnn.recipes.sections import Evaluation
from robustsnn.threats import THREATS, kind
from robustsnn.training.engine import Engine

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class RunArguments:
    """Where a run lives, and its recipe."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path
    """folder of the run; a run found there is continued"""
    engine: Annotated[Engine, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class EvaluationArguments:
    """How a checkpoint is measured."""

    settings: Annotated[Evaluation, tyro.conf.arg(name="")]
    engine: Annotated[Engine, tyro.conf.arg(name="")] = Engine()
    data: str = ""
    """data set to measure on, where that is not the one of the checkpoint's recipe"""
    ann: str = ""
    """a body from outside, package.module:factory; runs that code"""
    out: Path | None = None
    """folder for the report"""


def arguments(args: Sequence[str], program: str) -> RunArguments:
    """``RECIPE --flag value ...`` into where a run lives and its recipe, checked as a whole.

    Raises:
        ValueError: no such recipe, or a wrong flag or value.
    """
    recipe = load_recipe(args[0])
    recipe = recipe.model_copy(update={"evaluation": for_protocol(recipe.evaluation, args)})
    default = RunArguments(recipe, Path("runs") / recipe.name, Engine())
    chosen = parse(RunArguments, default, args[1:], f"{program} {args[0]}", recipe)
    return replace(chosen, recipe=from_table(chosen.recipe.table(), "recipe"))  # flags are checked one by one


NO_KEYS = ("out", *(field.name for field in fields(Engine)))
"""Flags that are no keys of a recipe."""


def parse(
    kind: type[Parsed],
    default: Parsed | None,
    args: Sequence[str],
    program: str,
    recipe: Recipe | None = None,
    section: str = "",
) -> Parsed:
    """Flags into a value.

    Arguments:
        kind, default: what to read, and its values where no flag is given; None: those of the kind itself.
        args: the flags; program: what help calls the command.
        recipe: whose keys they are, if any, with ``section`` (``"evaluation."``) before each.

    Raises:
        ValueError: a wrong flag or value, in one line.
        SystemExit: help was asked for and given.
    """
    args, complaint, options = switched(kind, args), io.StringIO(), (tyro.conf.AvoidSubcommands,)
    try:
        with contextlib.redirect_stderr(complaint):
            if default is None:
                return tyro.cli(kind, args=args, prog=program, config=options)
            return tyro.cli(kind, default=default, args=args, prog=program, config=options)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    except SystemExit as stop:
        if not stop.code:
            raise
        if recipe is not None:
            _check_values(recipe, args, section)
        words = " ".join(complaint.getvalue().translate(dict.fromkeys(map(ord, "╭╮╰╯│─"), " ")).split())
        words = words.removeprefix("Parsing error ").removeprefix("Unrecognized options ")
        raise ValueError(words or "the flags cannot be read") from None


def switched(kind: type[Any], args: Sequence[str]) -> list[str]:
    """The flags with ``--switch true`` and ``--switch false`` as ``--switch`` and ``--no-switch``."""
    known, found = flags(kind), list[str]()
    for arg in args:
        flag = found[-1].replace("_", "-") if found else ""
        head, dot, last = flag.removeprefix("--").rpartition(".")
        opposite = f"--{head}{dot}no-{last}"
        if opposite in known and flag in known and arg.lower() in ("true", "false"):
            found[-1] = flag if arg.lower() == "true" else opposite
        else:
            found.append(arg)
    return found


def flags(kind: Any, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """The flags that `parse` reads for a kind of value, each with the words that may follow it, where these are few."""
    found: dict[str, tuple[str, ...]] = {}
    known = kind.model_fields if issubclass(kind, BaseModel) else [field.name for field in fields(kind)]
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        inner, spelled = get_args(hint)[0] if marks else hint, name.replace("_", "-")
        if name not in known or tyro.conf.Suppress in marks or tyro.conf.Positional in marks:
            continue
        if is_dataclass(inner) or (isinstance(inner, type) and issubclass(inner, BaseModel)):
            inline = any(getattr(mark, "name", None) == "" for mark in marks)
            found |= flags(inner, prefix if inline else f"{prefix}{spelled}.")
        elif inner is bool:
            found |= {f"--{prefix}{spelled}": (), f"--{prefix}no-{spelled}": ()}
        else:
            found[f"--{prefix}{spelled}"] = tuple(_words(inner))
    return found


def _words(hint: Any) -> list[str]:
    """The words of a literal type, alone or in a union."""
    parts = get_args(hint)
    return [str(part) for part in parts] if get_origin(hint) is Literal else [word for part in parts for word in _words(part)]


def for_protocol(evaluation: Evaluation, args: Sequence[str]) -> Evaluation:
    """The default of the evaluation's flags: another protocol, named without attacks, runs all of its own; another threat,
    named without radii, has its usual one."""
    named = {
        word.rpartition(".")[2].removeprefix("--"): value for word, value in pairwise([*args, ""]) if word.startswith("--")
    }
    if "protocol" in named and "attacks" not in named:
        evaluation = evaluation.model_copy(update={"attacks": ()})
    if named.get("threat") in THREATS and "eps" not in named:
        evaluation = evaluation.model_copy(update={"eps": (kind(named["threat"])().eps,)})
    return evaluation


def _check_values(recipe: Recipe, args: Sequence[str], section: str) -> None:
    """Put the flags into the recipe's table as they stand: its own check names a wrong key or value better than tyro does.

    Raises:
        ValueError: a wrong key or value.
    """
    changed = recipe.model_dump(mode="json")
    for i, arg in enumerate(args):
        if not arg.startswith("--"):
            continue
        *path, last = f"{section}{arg.removeprefix('--')}".replace("-", "_").split(".")
        place = changed
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place.get(part, {}), dict) else {}
        if last not in NO_KEYS and f"{section}{last}" not in ("evaluation.ann", "evaluation.data"):
            values = list(takewhile(lambda value: not value.startswith("--"), args[i + 1 :]))
            place[last] = values if isinstance(place.get(last), list) or len(values) != 1 else values[0]
    from_table(changed, "flags")
