"""What each command of the command line does."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from torch import nn

from robustsnn import checkpoint, machine
from robustsnn.attacks import ATTACKS
from robustsnn.bench import ROWS, Case, Timing, bench
from robustsnn.data import DATASETS
from robustsnn.deploy import TARGETS, export
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS, STRONGER_PATHS
from robustsnn.files import write_atomic
from robustsnn.models import MODELS, outside
from robustsnn.names import find
from robustsnn.recipes import Run, load_recipe, measuring, packaged, pipeline
from robustsnn.recipes.flags import EvaluationArguments, RunArguments, for_protocol, parse
from robustsnn.recipes.recipe import from_table
from robustsnn.reporting import Row, RunReport, read_report
from robustsnn.spiking import SURROGATES
from robustsnn.terminal import Terminal
from robustsnn.training import OBJECTIVES
from robustsnn.training.engine import Engine, Team
from robustsnn.zoo import PREFIX, zoo

KINDS: dict[str, Callable[[], Sequence[str]]] = {
    "recipes": lambda: list(packaged()),
    "models": lambda: list(MODELS),
    "datasets": lambda: list(DATASETS),
    "objectives": lambda: list(OBJECTIVES),
    "attacks": lambda: list(ATTACKS),
    "surrogates": lambda: list(SURROGATES),
    "paths": lambda: [str(path) for path in (*PUBLISHED_PATHS, *STRONGER_PATHS)],
    "targets": lambda: list(TARGETS),
    "zoo": lambda: [f"{PREFIX}{name}" for name in zoo()],
    "protocols": lambda: [f"{name}: {', '.join(p.ensembles)}" for name, p in PROTOCOLS.items()],
}

STAGES: dict[str, Callable[[Run], Any]] = {
    "run": pipeline.run_all,
    "pretrain": pipeline.pretrain,
    "convert": pipeline.convert,
    "finetune": pipeline.finetune,
    "evaluate": measuring.evaluate,
    "report": measuring.report,
}


def stage(name: str, args: Sequence[str], strict: bool) -> None:
    """``run`` or one stage of it."""
    if not args or args[0].startswith("-"):
        raise ValueError(f"usage: robustsnn {name} RECIPE [--out DIR] [--section.key value ...]; see 'robustsnn list recipes'")
    recipe = load_recipe(args[0])
    recipe = recipe.model_copy(update={"evaluation": for_protocol(recipe.evaluation, args)})
    default = RunArguments(recipe, Path("runs") / recipe.name, Engine())
    chosen = parse(RunArguments, default, args[1:], f"robustsnn {name} {args[0]}", recipe)
    # once more as a whole: flags are checked one by one
    recipe = from_table(chosen.recipe.table(), "recipe")
    baseline = "" if args[0].endswith(".toml") else args[0].partition(":")[2]
    team, terminal = start(chosen.engine)
    run = Run(recipe, chosen.out, terminal.listener(), baseline or "robust", chosen.engine, team)
    if run.recipe.ann:
        sys.path.append("")  # its module may lie in the folder where the command is given
    with terminal.bar:
        result = STAGES[name](run)
    team.part()
    if isinstance(result, RunReport):
        terminal.report(result, strict)
        if name in ("run", "report"):
            terminal.say(f"\nThe report is in {run.out / 'report.html'} (and .md, .json).")


def evaluate_checkpoint(args: Sequence[str], strict: bool) -> None:
    """``evaluate FILE.safetensors``: with the evaluation of its own recipe, changed by flags."""
    given, again = args[0], ("robustsnn", "evaluate", *args, *(["--strict"] if strict else []))
    path = Path("runs/zoo", given.removeprefix(PREFIX)) if given.startswith(PREFIX) else Path(given)  # where its state is kept
    header, body = checkpoint.read_header(given), None
    recipe = from_table({"name": path.stem, **header.recipe}, given)
    default = EvaluationArguments(for_protocol(recipe.evaluation, args))
    recipe = recipe.model_copy(update={"evaluation": default.settings})
    chosen = parse(EvaluationArguments, default, args[1:], f"robustsnn evaluate {given}", recipe, "evaluation.")
    if chosen.ann:
        body = _outside(header, chosen.ann)
    team, terminal = start(chosen.engine)
    recipe = recipe.model_copy(update={"evaluation": chosen.settings})
    run = Run(recipe, path.parent, terminal.listener(), engine=chosen.engine, team=team)
    name = Path(given).name
    with terminal.bar:
        report = measuring.measure(run, checkpoint.load(given, body).to(team.fabric.device), name, path)
    row = Row(network=name, report=report)
    value = RunReport(recipe=recipe.table(), command=shlex.join(again), versions=measuring.made_with(run), rows=(row,))
    if chosen.out:
        run.alone(partial(measuring.write_report, value, chosen.out))
    team.part()
    terminal.report(value, strict)


def is_run(name: str) -> bool:
    """Whether a name is a folder, and not that of a recipe which happens to be called the same."""
    folder = Path(name)
    return folder.is_dir() and (name not in packaged() or (folder / "report.json").is_file())


@dataclass(frozen=True)
class Comparison:
    """Runs to compare on one page."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders of runs, each with its report.json"""
    out: Path = Path("comparison.html")
    """the page"""


def compare(args: Sequence[str]) -> None:
    """``report FOLDER ...``: networks that were measured in the same way, ranked."""
    chosen = parse(Comparison, Comparison(()), args, "robustsnn report")
    if not chosen.folders:
        raise ValueError("usage: robustsnn report FOLDER ... [--out FILE.html]")
    terminal = Terminal()
    terminal.comparison(measuring.compare(chosen.folders, chosen.out))
    terminal.say(f"The page is {chosen.out}.")


def _outside(header: checkpoint.Header, ann: str) -> nn.Module:
    """The body that ``--ann package.module:factory`` makes, with the arguments of the checkpoint's recipe."""
    sys.path.append("")  # its module may lie in the folder where the command is given
    model = header.recipe.get("model")
    return outside(**{**(model if isinstance(model, dict) and "ann" in model else {}), "ann": ann})


@dataclass(frozen=True)
class ExportArguments:
    """Where a network goes."""

    out: Path
    """the file to write"""
    to: str = "nir"
    """nir or onnx"""
    target: str = "generic"
    """the simulator that is to read a NIR file; see 'robustsnn list targets'"""
    shape: tuple[int, int, int] | None = None
    """channels, height and width of an image, where the checkpoint does not say"""
    ann: str = ""
    """package.module:factory of a body from outside; its code is run"""


def leave(args: Sequence[str]) -> None:
    """``export FILE.safetensors``."""
    if not args or args[0].startswith("-"):
        raise ValueError("usage: robustsnn export FILE.safetensors --out FILE [--to nir|onnx] [--target NAME]")
    chosen = tyro.cli(ExportArguments, args=list(args[1:]), prog=f"robustsnn export {args[0]}")
    body = _outside(checkpoint.read_header(args[0]), chosen.ann) if chosen.ann else None
    remarks = export(args[0], chosen.out, chosen.to, chosen.target, chosen.shape, body)
    print(f"{chosen.out} is written. What differs from the network:")
    for remark in remarks:
        print(f"  {remark}")


def start(engine: Engine) -> tuple[Team, Terminal]:
    """The processes of a run, and what this one says."""
    if engine.deterministic:
        machine.deterministic()
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").addHandler(_LastWords())
    team = engine.launch()
    return team, Terminal(team.first)


class _LastWords(logging.Handler):
    """What is said before lightning kills this process, because another one of the run has died."""

    def emit(self, record: logging.LogRecord) -> None:
        if "terminated with code" in record.getMessage():
            print(f"robustsnn: error: another process of this run has died; {CONTINUES}", file=sys.stderr, flush=True)


CONTINUES = "the same command continues where it stopped"


def show(args: Sequence[str]) -> None:
    """``list KIND``."""
    if len(args) != 1:
        raise ValueError(f"usage: robustsnn list KIND, with KIND one of {', '.join(KINDS)}")
    for entry in find("kind", KINDS, args[0])():
        print(entry)


def info(args: Sequence[str]) -> None:
    """``info FILE``."""
    if len(args) != 1:
        raise ValueError("usage: robustsnn info FILE.safetensors | zoo:NAME")
    header = checkpoint.read_header(args[0])
    print(f"{args[0]}: {header.kind}, {checkpoint.count(args[0]):,} parameters")
    for name, value in {"recipe": header.recipe, "spiking": header.spiking, "metrics": header.metrics}.items():
        for key, entry in value.items():
            if key == "report":
                Terminal().report(read_report(json.dumps(entry).encode(), args[0]), strict=False)
            elif key != "history":
                print(f"{name}.{key}: {entry}")


@dataclass(frozen=True)
class BenchArguments:
    """What to measure, and where to keep the figures."""

    networks: tuple[str, ...] = ("resnet20", "vgg11")
    rows: tuple[str, ...] = tuple(ROWS)
    timesteps: int = 8
    batch: int = 64
    """images of the first network; a quarter of it for the others, which are wider"""
    few: int = 16
    """images of the PGD ensemble and of calibration"""
    width: float = 1.0
    """factor on all channels"""
    repeats: int = 3
    device: str = "cpu"
    json: Path | None = None
    """a file for the figures, one object per row"""


def speed(args: Sequence[str]) -> None:
    """``bench``."""
    chosen = tyro.cli(BenchArguments, args=list(args), prog="robustsnn bench")
    terminal, found = Terminal(), []
    for number, network in enumerate(chosen.networks):
        batch = chosen.batch if number == 0 else max(1, chosen.batch // 4)
        case = Case(network, chosen.width, chosen.timesteps, batch, chosen.few, chosen.device)
        rows = []
        for row in bench(case, chosen.rows, chosen.repeats):
            terminal.say(f"{network}: {row.what}")
            rows.append(row.cells())
            found.append({**asdict(case), **asdict(row)})
            if chosen.json is not None:
                write_atomic(chosen.json, json.dumps(found, indent=1).encode())
        terminal.table([f"{network}, T = {case.timesteps}, batch {batch}", *Timing.HEAD], rows)
    terminal.say("Medians of repeats in turns. plain: the definition, step by step; floor: convolutions and linears alone.")
