"""The arguments of every command, from which tyro makes flags, help and completion."""

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

Strict = Annotated[bool, FlagCreatePairsOff, arg(help="exit with status 3 if a check of the audit fails")]
Ann = Annotated[str, arg(help="your own ANN, package.module:factory; its code is run")]
Checkpoint = Annotated[str, Positional, arg(metavar="CHECKPOINT")]


@dataclass(frozen=True)
class Everywhere:
    """Flags of every command."""

    json: Annotated[
        bool, FlagCreatePairsOff, arg(help="print the result as one JSON document on stdout, everything else on stderr")
    ] = False
    quiet: Annotated[bool, FlagCreatePairsOff, arg(aliases=("-q",))] = False
    """print only results and errors"""
    verbose: Annotated[bool, FlagCreatePairsOff, arg(aliases=("-v",))] = False
    """print all tables of a report, and tracebacks of internal errors"""
    system_allocator: Annotated[bool, FlagCreatePairsOff] = False
    """use the C library's default memory allocation: uses less memory, but is slower"""


Common = Annotated[Everywhere, arg(name="")]


@dataclass(frozen=True)
class Run:
    """Run a recipe stage by stage; an interrupted run resumes. Every key of a recipe is a flag."""

    given: Annotated[str, Positional, arg(metavar="RECIPE")]
    """name of a packaged recipe, NAME:BASELINE, or a .toml file"""
    recipe: Annotated[Recipe, arg(name="")]
    until: Annotated[Until, arg(help="the last stage to run")] = "report"
    out: Annotated[Path | None, arg(aliases=("-o",), help="folder of the run; if not given, runs/NAME")] = None
    logger: Annotated[Tracker, arg(help="experiment tracker for every epoch's metrics, in addition to metrics.jsonl")] = NONE
    strict: Strict = False
    engine: Annotated[Engine, arg(name="")] = Engine()
    common: Common = Everywhere()


UNSTATED = Evaluation.model_construct(protocol="rigorous", eps=(8 / 255,))  # unchecked, because a check imports torch
"""How to measure a checkpoint whose recipe does not say it: as `robustsnn.evaluate` does."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a checkpoint as its own recipe says; flags change single keys. With the name of a checkpoint before --help, the
    defaults are those of its recipe."""

    given: Checkpoint
    """a .safetensors file, zoo:NAME or hf://USER/NAME"""
    settings: Annotated[Evaluation, arg(name="")] = UNSTATED
    data: Annotated[str, arg(help="data set to measure on; if not given, that of the checkpoint's recipe")] = ""
    ann: Ann = ""
    out: Annotated[Path | None, arg(aliases=("-o",), help="folder for the report")] = None
    strict: Strict = False
    engine: Annotated[Engine, arg(name="")] = Engine()
    common: Common = Everywhere()


@dataclass(frozen=True)
class Certify:
    """Certify a checkpoint: compute a lower bound on its robust accuracy that no attack can break."""

    given: Checkpoint
    """a .safetensors file, zoo:NAME or hf://USER/NAME"""
    method: Annotated[tuple[str, ...], arg(help="methods, such as 'Smoothing(sigma=0.5)' ('robustsnn list certificates')")] = (
        "Smoothing(sigma=0.25)",
    )
    limit: Annotated[int | None, arg(help="certify at most this many test images")] = None
    batch: Annotated[int, arg(help="images, or noisy copies of them, per forward pass; does not change the result")] = 250
    seed: int = 0
    """seed of the noise"""
    data: Annotated[str, arg(help="data set to certify on; if not given, that of the checkpoint's recipe")] = ""
    ann: Ann = ""
    out: Annotated[
        Path | None,
        arg(aliases=("-o",), help="folder for the report; an existing report there gets a section on lower bounds"),
    ] = None
    engine: Annotated[Engine, arg(name="")] = Engine()
    common: Common = Everywhere()


@dataclass(frozen=True)
class Report:
    """Rank the networks of several runs on one page, and list the differences of their recipes."""

    folders: Annotated[tuple[Path, ...], Positional, arg(metavar="FOLDER ...")] = ()
    """folders of runs, each with a report.json"""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("comparison.html")
    """the HTML file to write"""
    common: Common = Everywhere()


@dataclass(frozen=True)
class List:
    """List everything with a name, such as recipes, models and attacks, with a one-line description."""

    kind: Annotated[str, Positional, arg(metavar="KIND", help=", ".join(KINDS))] = ""
    common: Common = Everywhere()


@dataclass(frozen=True)
class Info:
    """Show the content of a checkpoint, or what 'run' would do with a recipe and its flags, without running it."""

    given: Annotated[str, Positional, arg(metavar="CHECKPOINT|RECIPE")]
    """a checkpoint (.safetensors, zoo:NAME, hf://USER/NAME) or a recipe (name or .toml file)"""
    recipe: Annotated[Recipe, arg(name="")]
    common: Common = Everywhere()


@dataclass(frozen=True)
class Header:
    """Show the content of a checkpoint."""

    given: Checkpoint
    """a .safetensors file, zoo:NAME or hf://USER/NAME"""
    common: Common = Everywhere()


@dataclass(frozen=True)
class Export:
    """Export a spiking network to other simulators ('robustsnn list targets') or runtimes."""

    given: Checkpoint
    """a .safetensors file, zoo:NAME or hf://USER/NAME"""
    out: Annotated[Path | None, arg(aliases=("-o",))] = None
    """the file to write"""
    to: str = "nir"
    """format: nir or onnx"""
    target: str = "generic"
    """the simulator that will read the NIR file"""
    shape: tuple[int, int, int] | None = None
    """channels, height and width of an image, if the checkpoint does not contain them"""
    ann: Ann = ""
    common: Common = Everywhere()


@dataclass(frozen=True)
class Doctor:
    """Check what this machine provides, and whether 'robustsnn run digits' can run."""

    common: Common = Everywhere()


@dataclass(frozen=True)
class Completion:
    """Print a shell script that completes commands, flags and their values."""

    shell: Annotated[str, Positional, arg(metavar="SHELL", help=", ".join(SHELLS))] = ""
    common: Common = Everywhere()
