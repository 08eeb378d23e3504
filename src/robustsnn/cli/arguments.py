"""What every command takes. Tyro makes flags, help and completion of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from robustsnn.cli.catalogue import KINDS
from robustsnn.recipes import STAGES, Recipe
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.loggers import LOGGERS, NONE
from robustsnn.recipes.sections import Evaluation

if TYPE_CHECKING:
    Until = str
    Tracker = str
else:
    Until = Literal[tuple(STAGES)]
    Tracker = Literal[(NONE, *LOGGERS)]

SHELLS = ("bash", "zsh", "fish")

Strict = Annotated[bool, FlagCreatePairsOff, arg(help="exit with 3 where a check of the audit fails")]
Ann = Annotated[str, arg(help="a body from outside, package.module:factory; runs that code")]
Checkpoint = Annotated[str, Positional, arg(metavar="CHECKPOINT")]


@dataclass(frozen=True)
class Everywhere:
    """Flags of every command."""

    json: Annotated[bool, FlagCreatePairsOff] = False
    """what is found as one JSON document on stdout, all else on stderr"""
    quiet: Annotated[bool, FlagCreatePairsOff, arg(aliases=("-q",))] = False
    """only what is found, and what went wrong"""
    verbose: Annotated[bool, FlagCreatePairsOff, arg(aliases=("-v",))] = False
    """all tables of a report, and where an internal error is"""
    system_allocator: Annotated[bool, FlagCreatePairsOff] = False
    """leave memory to the C library: less is held, and all is slower"""


Common = Annotated[Everywhere, arg(name="")]


@dataclass(frozen=True)
class Run:
    """A recipe from stage to stage; continues where it stopped. Every key of a recipe is a flag."""

    given: Annotated[str, Positional, arg(metavar="RECIPE")]
    """a packaged name, NAME:BASELINE, or a .toml file"""
    recipe: Annotated[Recipe, arg(name="")]
    until: Annotated[Until, arg(help="the stage to end with")] = "report"
    out: Annotated[Path | None, arg(aliases=("-o",), help="folder of the run, runs/NAME if not given; continued if there")] = (
        None
    )
    logger: Annotated[Tracker, arg(help="where the figures of every epoch go besides metrics.jsonl")] = NONE
    strict: Strict = False
    engine: Annotated[Engine, arg(name="")] = Engine()
    common: Common = Everywhere()


@dataclass(frozen=True)
class Evaluate:
    """Measure a checkpoint, as its own recipe says but for the flags."""

    given: Checkpoint
    """a .safetensors file, or zoo:NAME"""
    settings: Annotated[Evaluation, arg(name="")] = Evaluation()
    data: Annotated[str, arg(help="data set to measure on, where that is not the one of the checkpoint's recipe")] = ""
    ann: Ann = ""
    out: Annotated[Path | None, arg(aliases=("-o",), help="folder for the report")] = None
    strict: Strict = False
    engine: Annotated[Engine, arg(name="")] = Engine()
    common: Common = Everywhere()


@dataclass(frozen=True)
class Report:
    """Rank the networks of several runs on one page, and say in what their recipes differ."""

    folders: Annotated[tuple[Path, ...], Positional, arg(metavar="FOLDER ...")] = ()
    """folders of runs, each with its report.json"""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("comparison.html")
    """the page"""
    common: Common = Everywhere()


@dataclass(frozen=True)
class List:
    """What has a name, each with a line that says what it is."""

    kind: Annotated[str, Positional, arg(metavar="KIND", help=", ".join(KINDS))] = ""
    common: Common = Everywhere()


@dataclass(frozen=True)
class Info:
    """What a checkpoint holds, or what 'run' would do with a recipe and the flags behind it; nothing is done."""

    given: Annotated[str, Positional, arg(metavar="CHECKPOINT|RECIPE")]
    """a .safetensors file, zoo:NAME, a recipe's name, or a .toml file"""
    recipe: Annotated[Recipe, arg(name="")]
    common: Common = Everywhere()


@dataclass(frozen=True)
class Header:
    """What a checkpoint holds."""

    given: Checkpoint
    """a .safetensors file, or zoo:NAME"""
    common: Common = Everywhere()


@dataclass(frozen=True)
class Export:
    """Write a spiking network for other simulators ('robustsnn list targets') or runtimes."""

    given: Checkpoint
    """a .safetensors file, or zoo:NAME"""
    out: Annotated[Path | None, arg(aliases=("-o",))] = None
    """the file to write"""
    to: str = "nir"
    """nir or onnx"""
    target: str = "generic"
    """the simulator that is to read a NIR file"""
    shape: tuple[int, int, int] | None = None
    """channels, height and width of an image, where the checkpoint does not say"""
    ann: Ann = ""
    common: Common = Everywhere()


@dataclass(frozen=True)
class Doctor:
    """What this machine has and lacks, and whether 'robustsnn run digits' can run."""

    common: Common = Everywhere()


@dataclass(frozen=True)
class Completion:
    """A script that completes commands, flags and their values."""

    shell: Annotated[str, Positional, arg(metavar="SHELL", help=", ".join(SHELLS))] = ""
    common: Common = Everywhere()
