"""The commands: their arguments, the functions that run them, and their help."""

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from robustsnn.cli.arguments import SHELLS, Certify, Completion, Doctor, Evaluate, Export, Header, Info, List, Report, Run
from robustsnn.cli.parse import HOW, few, flags, for_protocol, parse
from robustsnn.cli.terminal import Terminal
from robustsnn.lazy import later
from robustsnn.names import find, is_toml
from robustsnn.recipes import Recipe, load_recipe, packaged
from robustsnn.recipes.recipe import from_table
from robustsnn.zoo import PREFIX, named, zoo

HELP = ("-h", "--help", "--help-all")


@dataclass(frozen=True)
class Command:
    """A command.

    Arguments:
        default: its arguments without flags.
        do: runs it.
        needs: its required argument, as shown in usage; empty if there is none.
        first: the flags shown by ``--help``; if empty, all of them.
    """

    default: Any
    do: Callable[[Any, Terminal], None]
    needs: str = ""
    first: tuple[str, ...] = ()


_KEYS = ("--timesteps", "--data.name", "--model.name", "--pretrain.epochs", "--finetune.epochs")
_MEASURED = ("--evaluation.protocol", "--evaluation.eps", "--evaluation.limit")
_NAMELESS = Recipe(name="RECIPE")

COMMANDS: dict[str, Command] = {
    "run": Command(Run("", _NAMELESS), later("robustsnn.cli.run", "run"), "RECIPE", ("--out", "--until", *_KEYS, *_MEASURED)),
    "evaluate": Command(
        Evaluate(""),
        later("robustsnn.cli.run", "evaluate"),
        "FILE.safetensors|zoo:NAME|hf://USER/NAME",
        ("--protocol", "--eps", "--attacks", "--limit", "--batch", "--data", "--ann", "--out", "--strict", "--audit-images"),
    ),
    "certify": Command(
        Certify(""),
        later("robustsnn.cli.certify", "bound"),
        "FILE.safetensors|zoo:NAME|hf://USER/NAME",
        ("--method", "--limit", "--batch", "--data", "--ann", "--out"),
    ),
    "report": Command(Report(), later("robustsnn.cli.compare", "compare"), "FOLDER ..."),
    "list": Command(List(), later("robustsnn.cli.inspect", "show"), "KIND"),
    "info": Command(
        Info("", _NAMELESS),
        later("robustsnn.cli.inspect", "info"),
        "FILE.safetensors|zoo:NAME|hf://USER/NAME|RECIPE",
        ("--seed", *_KEYS, *_MEASURED, "--json"),
    ),
    "export": Command(Export(""), later("robustsnn.cli.run", "leave"), "FILE.safetensors|zoo:NAME|hf://USER/NAME"),
    "doctor": Command(Doctor(), later("robustsnn.cli.doctor", "doctor")),
    "completion": Command(Completion(), lambda chosen, terminal: complete(chosen, terminal), "SHELL"),
}

MOVED = {
    **{stage: f"run RECIPE --until {stage}" for stage in ("pretrain", "convert", "finetune")},
    "bench": "python -m benchmarks.bench, in a copy of the project",
}
"""Former commands, and their replacements."""


def is_checkpoint(given: str) -> bool:
    """Return whether a word names a checkpoint, not a recipe."""
    return given.endswith(".safetensors") or named(given)


def read(name: str, args: Sequence[str]) -> Any:
    """Parse the arguments of a command.

    Raises:
        ValueError: the command is unknown, or an argument is wrong.
        SystemExit: help was shown.
    """
    if name in MOVED:
        raise ValueError(f"'robustsnn {name}' is now '{MOVED[name]}'".replace("'run", "'robustsnn run"))
    command = find("command", COMMANDS, name)
    switches = {each for flag, told in flags(command.default).items() if told.hint is bool for each in (flag, *told.aliases)}
    before = [*takewhile(lambda word: word in switches, args)]
    args = [*args[len(before) :], *before]
    given = args[0] if args and not args[0].startswith("-") else ""
    program = f"robustsnn {name}"
    if any(arg in HELP for arg in args):
        default, _, _ = _begin(command, given, args) if given else (command.default, None, "")
        _help(command, default, f"{program} {given or command.needs}".rstrip(), whole="--help-all" in args)
    if command.needs and not given:
        raise ValueError(f"usage: {program} {command.needs}; see '{program} --help'")
    default, recipe, section = _begin(command, given, args)
    chosen = parse(default, args, program, recipe, section)
    # tyro checks single flags; the recipe as a whole is checked here.
    return replace(chosen, recipe=from_table(chosen.recipe.table(), "recipe")) if recipe and not section else chosen


def _begin(command: Command, given: str, args: Sequence[str]) -> tuple[Any, Recipe | None, str]:
    """Return a command's arguments without flags, the recipe whose keys are its flags, and the section of these keys."""
    match command.default:
        case Info() if is_checkpoint(given):
            return Header(given), None, ""
        case Run() | Info():
            if not is_toml(given) and Path(given).is_dir() and given not in packaged():
                raise ValueError(_folder(given))
            recipe = load_recipe(given)
            recipe = recipe.model_copy(update={"evaluation": for_protocol(recipe.evaluation, args)})
            return replace(command.default, given=given, recipe=recipe), recipe, ""
        case Evaluate():
            if long := next((arg for arg in args if arg.startswith("--evaluation.")), ""):
                short = long.partition(".")[2].partition("=")[0]
                raise ValueError(f"{long}: evaluate takes the keys of [evaluation] without the section: write --{short}")
            recipe = later("robustsnn.cli.run", "recipe_of")(_measurable(given))
            settings = for_protocol(recipe.evaluation, args)
            return Evaluate(given, settings), recipe.model_copy(update={"evaluation": settings}), "evaluation."
        case Export() | Certify():
            return replace(command.default, given=given), None, ""
    return command.default, None, ""


def _measurable(given: str) -> str:
    """Return the name of a checkpoint.

    Raises:
        ValueError: it is not a checkpoint; the message names the right command.
    """
    if is_checkpoint(given):
        return given
    if given in packaged() or is_toml(given) or given.partition(":")[0] in packaged():
        raise ValueError(
            f"{given} is a recipe, but evaluate takes a checkpoint: write 'robustsnn run {given} --until evaluate'"
        )
    if given.endswith((".pth", ".pt")):
        raise ValueError(
            f"{given} is not a checkpoint: use a .safetensors file. For weights of an ANN use 'robustsnn run --weights'; save "
            "your own network with robustsnn.save(path, net), and add --ann package.module:factory"
        )
    if Path(given).is_dir():
        raise ValueError(_folder(given))
    meant = f", such as {PREFIX}{given}" if given in zoo() else ""
    raise ValueError(f"{given} is not a checkpoint: use a .safetensors file, or zoo:NAME{meant} ('robustsnn list zoo')")


def _folder(given: str) -> str:
    folder = Path(given)
    found = sorted(folder.glob("*.safetensors"), key=lambda path: (path.name != "snn.safetensors", path.name))
    said = f"use a checkpoint in it, such as {found[0]}" if found else "it holds no checkpoint; 'robustsnn run' makes one"
    recipe = f"; its recipe is {folder / 'recipe.toml'}" if (folder / "recipe.toml").is_file() else ""
    report = f"; 'robustsnn report {given}' reads its report" if (folder / "report.json").is_file() else ""
    return f"{given} is a folder: {said}{recipe}{report}"


def _help(command: Command, default: Any, program: str, whole: bool) -> None:
    if command.first and not whole:
        words = f"{type(default).__doc__}\n\n'{program} --help-all' shows every flag."
        default = few(default, command.first, words)
    tyro.cli(type(default), default=default, args=["--help"], prog=program, **HOW)


def overview(words: str) -> None:
    """Show help about all commands.

    Raises:
        SystemExit: always, after the help.
    """
    tyro.cli(_everything(), args=["--help"], prog="robustsnn", description=words, **HOW)


def complete(chosen: Completion, terminal: Terminal) -> None:
    """Run ``completion SHELL``: print tyro's script for a shell."""
    find("shell", dict.fromkeys(SHELLS), chosen.shell)
    script = StringIO()
    try:
        with redirect_stdout(script):
            tyro.cli(_everything(), args=["--tyro-print-completion", chosen.shell], prog="robustsnn", **HOW)
    except SystemExit:
        terminal.answer({"shell": chosen.shell, "script": script.getvalue()}, lambda: terminal.raw(script.getvalue()))


def _everything() -> Any:
    """Return the union type of all commands."""
    kinds = {name: type(command.default) for name, command in COMMANDS.items()}
    return Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items())]  # noqa: UP007
