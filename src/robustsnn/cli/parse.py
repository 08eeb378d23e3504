"""Parsing of flags into values with tyro, with errors in one line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel, ValidationError
from tyro._errors import BadValue, InstantiationFailure, InvalidChoice, ParseErrorEvent, UnrecognizedArgs, on_parse_error
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from robustsnn.names import nearest, number, spelled
from robustsnn.recipes import Recipe
from robustsnn.recipes.recipe import explain, from_table
from robustsnn.recipes.sections import Evaluation
from robustsnn.settings import THREAT_OF, kind

Parsed = TypeVar("Parsed")
READ = ConstructorRegistry()
"""Custom parsing rules for tyro."""


@READ.primitive_rule
def _number(known: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float] | None:
    """Accept numbers written as fractions."""
    if known.type is not float:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="NUMBER",
        instance_from_str=lambda args: number(args[0]),
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [spelled(float(value))],
    )


SHORT: dict[Any, str] = {int: "INT", Path: "PATH"}
"""How short help shows the value of an optional flag."""


class _Refused(Exception):
    """Carries a parse error of tyro, instead of the page that it would print."""


@dataclass(frozen=True)
class Flag:
    """A flag: the type of its value, its marks for tyro, its default, its help text, and its aliases."""

    hint: Any
    marks: tuple[Any, ...]
    default: Any
    help: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The allowed values, if the type lists them."""
        return tuple(_words(self.hint))


def flags(value: Any, prefix: str = "") -> dict[str, Flag]:
    """Return the flags that `parse` accepts for a default value, by name; switches without their ``--no-`` form."""
    found: dict[str, Flag] = {}
    known = type(value).model_fields if isinstance(value, BaseModel) else {field.name: field for field in fields(value)}
    for name, hint in get_type_hints(type(value), include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        if name not in known or tyro.conf.Suppress in marks or tyro.conf.Positional in marks:
            continue
        inner, held = get_args(hint)[0] if marks else hint, getattr(value, name)
        spelled = f"{prefix}{name.replace('_', '-')}"
        told, rest = [mark for mark in marks if hasattr(mark, "aliases")], [m for m in marks if not hasattr(m, "aliases")]
        if is_dataclass(held) or isinstance(held, BaseModel):
            found |= flags(held, prefix if any(mark.name == "" for mark in told) else f"{spelled}.")
        else:
            help_ = [getattr(known[name], "description", None), *(mark.help for mark in told)]
            aliases = [alias for mark in told for alias in mark.aliases or ()]
            found[f"--{spelled}"] = Flag(inner, tuple(rest), held, next(filter(None, help_), ""), tuple(aliases))
    return found


HOW: dict[str, Any] = {"config": (tyro.conf.AvoidSubcommands,), "registry": READ}
"""Options for all calls of tyro."""


def _words(hint: Any) -> Iterator[str]:
    """Yield the values of a literal type, alone or in a union."""
    for part in get_args(hint):
        if get_origin(hint) is Literal:
            yield str(part)
        else:
            yield from _words(part)


def parse(default: Parsed, args: Sequence[str], program: str, recipe: Recipe | None = None, section: str = "") -> Parsed:
    """Parse flags into a value.

    Arguments:
        default: the value without flags.
        args: the words after the command; program: its name in help and errors.
        recipe: the recipe whose keys are flags, if any; ``section`` (``"evaluation."``) is their common prefix.

    Raises:
        ValueError: a flag or value is wrong.
        SystemExit: help was shown.
    """
    known = flags(default)
    args = switched(known, args)
    try:
        with on_parse_error(_refuse):
            found: Parsed = tyro.cli(type(default), default=default, args=args, prog=program, **HOW)
    except (ValidationError, _Refused) as refused:
        line = explain(refused) if isinstance(refused, ValidationError) else _line(refused.args[0], known)
        if recipe is not None and not (line.startswith("unknown flag") and not section and "." not in line.partition(":")[0]):
            _check_values(recipe, known, args, section)
        raise ValueError(f"{line}; see '{program} --help'") from None
    return found


def _refuse(event: ParseErrorEvent) -> None:
    raise _Refused(event)


def _line(event: ParseErrorEvent, known: Mapping[str, Flag]) -> str:
    match event:
        case UnrecognizedArgs():
            wrong = next((word for word in event.tokens if word.startswith("-")), event.tokens[0])
            alike = [flag for flag in known if ("." in flag) == ("." in wrong)]
            return f"unknown flag {wrong}: {nearest(wrong, alike)}" if wrong[0] == "-" else f"unexpected argument {wrong!r}"
        case InvalidChoice():
            return f"{event.argument.display_name()} {event.value}: write one of {', '.join(event.choices)}"
        case BadValue():
            return f"{event.argument.display_name()} needs a value"
        case InstantiationFailure():
            return f"{event.argument.display_name()}: {event.message}" if event.argument else str(event.message)
    return "the arguments cannot be parsed"


def switched(known: Mapping[str, Flag], args: Sequence[str]) -> list[str]:
    """Rewrite ``--switch true`` as ``--switch``, ``--switch false`` as ``--no-switch``, and ``--key=value`` as two words."""
    found = list[str]()
    for arg in (part for word in args for part in (word.split("=", 1) if word.startswith("--") else (word,))):
        flag = found[-1].replace("_", "-") if found else ""
        if flag in known and known[flag].hint is bool and arg.lower() in ("true", "false"):
            head, dot, last = flag.removeprefix("--").rpartition(".")
            found[-1] = flag if arg.lower() == "true" else f"--{head}{dot}no-{last}"
        else:
            found.append(arg)
    return found


def few(default: Any, first: Sequence[str], words: str) -> Any:
    """Return a value that has only the flags ``first`` of ``default``, for short help."""
    chosen = []
    for name, flag in ((name, flags(default)[name]) for name in first):
        told = tyro.conf.arg(
            name=name.strip("-"),
            help=flag.help,
            aliases=flag.aliases or None,
            metavar=next((shown for kind, shown in SHORT.items() if flag.hint == kind | None), None),
            help_behavior_hint="" if flag.default in (None, "", ()) or flag.default is False else None,
        )
        field = name.strip("-").replace(".", "_").replace("-", "_")
        chosen.append((field, Annotated[(flag.hint, told, *flag.marks)], flag.default))
    kind = make_dataclass("Few", chosen, frozen=True)
    kind.__doc__ = words
    return kind()


def for_protocol(evaluation: Evaluation, args: Sequence[str]) -> Evaluation:
    """Return the defaults of the evaluation's flags: a protocol given without attacks runs all of its ensembles and has its
    default threat, and a threat given without radii uses its default radii."""
    named = dict[str, str]()
    for flag, following in pairwise([*args, ""]):
        if flag.startswith("--"):
            name, equals, value = flag.partition("=")
            named[name.rpartition(".")[2].removeprefix("--")] = value if equals else following
    if "protocol" in named and "attacks" not in named:
        evaluation = evaluation.model_copy(update={"attacks": ()})
    threat = named.get("threat") or THREAT_OF.get(named.get("protocol", ""))
    if threat and "eps" not in named:
        with suppress(ValueError):  # an unknown threat is reported when its flag is parsed
            evaluation = evaluation.model_copy(update={"threat": threat, "eps": kind(threat)().usual})
    return evaluation


def _check_values(recipe: Recipe, known: Mapping[str, Flag], args: Sequence[str], section: str) -> None:
    """Validate the flags as a recipe's table, whose errors are clearer than tyro's.

    Raises:
        ValueError: a key or value is wrong.
    """
    changed = recipe.model_dump(mode="json")
    keys = {f"--{name}" for name in _dotted(changed[section.rstrip(".")] if section else changed)}
    ends = {alias for flag in known.values() for alias in flag.aliases}
    for i, arg in enumerate(args):
        flag = arg.replace("_", "-")
        if not arg.startswith("--") or (flag not in keys and {flag, flag.replace("no-", "", 1)} & known.keys()):
            continue  # a flag of the command, not of the recipe
        *path, last = f"{section}{arg.removeprefix('--')}".replace("-", "_").split(".")
        place = changed
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place.get(part, {}), dict) else {}
        values = list(takewhile(lambda value: not value.startswith("--") and value not in ends, args[i + 1 :]))
        place[last] = values if isinstance(place.get(last), list) or len(values) != 1 else values[0]
    from_table(changed, "flags")


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        name = f"{prefix}{key.replace('_', '-')}"
        yield from _dotted(value, f"{name}.") if isinstance(value, dict) else (name,)
