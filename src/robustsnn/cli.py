"""The command line: parse, run, print. Every error is one line that says what, where and what to do."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from robustsnn import checkpoint
from robustsnn.attacks import ATTACKS
from robustsnn.bench import bench
from robustsnn.data import DATASETS
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS
from robustsnn.models import MODELS, outside
from robustsnn.names import find
from robustsnn.recipes import Listener, Recipe, Run, load_recipe, measuring, packaged, pipeline
from robustsnn.recipes.flags import for_protocol, parse
from robustsnn.recipes.recipe import from_table
from robustsnn.recipes.sections import Evaluation
from robustsnn.reporting import Row, RunReport, audits, costs, failures, layers, summary, table, versions
from robustsnn.spiking import SURROGATES
from robustsnn.training import OBJECTIVES

KINDS: dict[str, Callable[[], Sequence[str]]] = {
    "recipes": lambda: list(packaged()),
    "models": lambda: list(MODELS),
    "datasets": lambda: list(DATASETS),
    "objectives": lambda: list(OBJECTIVES),
    "attacks": lambda: list(ATTACKS),
    "surrogates": lambda: list(SURROGATES),
    "paths": lambda: [str(path) for path in PUBLISHED_PATHS],
    "protocols": lambda: [f"{name}: {', '.join(p.ensembles)}" for name, p in PROTOCOLS.items()],
}

USAGE = (
    """robustsnn: adversarially robust spiking neural networks

  robustsnn run RECIPE [--out DIR] [--section.key value ...]
                          the whole pipeline; continues where it stopped
  robustsnn pretrain | convert | finetune | evaluate | report RECIPE [--out DIR] [--section.key value ...]
                          one stage of it
  robustsnn evaluate FILE.safetensors [--eps 8/255 ...] [--protocol NAME] ...
                          measure a checkpoint (--ann package.module:factory makes a body from outside)
  robustsnn list KIND     KIND: """
    + ", ".join(KINDS)
    + """
  robustsnn info FILE.safetensors
                          what a checkpoint holds
  robustsnn bench         how fast this machine is, as ratios within one run

RECIPE is a packaged name (see 'robustsnn list recipes') or a TOML file. 'robustsnn run RECIPE --help' lists every key.
"""
)


@dataclass(frozen=True)
class RunArguments:
    """Where a run lives, and its recipe."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path
    """folder of the run; a run found there is continued"""


class Terminal:
    """Prints lines, and on a terminal a progress bar with the time left."""

    def __init__(self) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        if not self.console.is_terminal:
            self.console.width = 1000  # a file has room for whole tables
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1.0, visible=False)
        self.what = ""

    def progress(self, what: str, share: float) -> None:
        if what != self.what:
            self.what = what
            self.bar.reset(self.task, description=escape(what), visible=True)
        self.bar.update(self.task, completed=share)

    def say(self, line: str) -> None:
        self.console.print(escape(line))

    def listener(self) -> Listener:
        return Listener(self.say, self.progress)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        drawn = Table(show_edge=False, pad_edge=False)
        for i, title in enumerate(head):
            drawn.add_column(escape(title), justify="right" if i else "left")
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        self.console.print(drawn)

    def report(self, value: RunReport) -> None:
        self.say("")
        self.table(*table(value, bounds=False))
        if any(row.report.thresholds for row in value.rows):
            self.say("")
            self.table(*layers(value))
        if any(row.report.audit for row in value.rows):
            self.say("")
            self.table(*audits(value))
        if costs(value)[1]:
            self.say("")
            self.table(*costs(value))
        self.say("\n" + summary(value))
        for line in failures(value):
            self.say(f"audit: {line}")


STAGES: dict[str, Callable[[Run], Any]] = {
    "run": pipeline.run_all,
    "pretrain": pipeline.pretrain,
    "convert": pipeline.convert,
    "finetune": pipeline.finetune,
    "evaluate": measuring.evaluate,
    "report": measuring.report,
}


def stage(name: str, args: Sequence[str]) -> None:
    """``run`` or one stage of it."""
    if not args or args[0].startswith("-"):
        raise ValueError(f"usage: robustsnn {name} RECIPE [--out DIR] [--section.key value ...]; see 'robustsnn list recipes'")
    recipe = load_recipe(args[0])
    recipe = recipe.model_copy(update={"evaluation": for_protocol(recipe.evaluation, args)})
    default = RunArguments(recipe, Path("runs") / recipe.name)
    chosen = parse(RunArguments, default, args[1:], f"robustsnn {name} {args[0]}", recipe)
    terminal = Terminal()
    # once more as a whole: flags are checked one by one
    run = Run(from_table(chosen.recipe.table(), "recipe"), chosen.out, terminal.listener())
    with terminal.bar:
        result = STAGES[name](run)
    if isinstance(result, RunReport):
        terminal.report(result)
        if name in ("run", "report"):
            terminal.say(f"\nThe report is in {run.out / 'report.html'} (and .md, .json).")


def evaluate_checkpoint(args: Sequence[str]) -> None:
    """``evaluate FILE.safetensors``: with the evaluation of its own recipe, changed by flags."""
    path, rest, body = Path(args[0]), list(args[1:]), None
    header = checkpoint.read_header(path)
    if "--ann" in rest:
        place = rest.index("--ann")
        ann = "".join(rest[place + 1 : place + 2])
        del rest[place : place + 2]
        body = outside(**{**header.recipe.get("model", {}), "ann": ann})
    recipe = from_table({"name": path.stem, **header.recipe}, str(path))
    recipe = recipe.model_copy(update={"evaluation": for_protocol(recipe.evaluation, rest)})
    settings = parse(Evaluation, recipe.evaluation, rest, f"robustsnn evaluate {path}", recipe, "evaluation.")
    terminal = Terminal()
    run = Run(recipe.model_copy(update={"evaluation": settings}), path.parent, terminal.listener())
    with terminal.bar:
        report = measuring.measure(run, checkpoint.load(path, body), path.name, path.with_suffix(".evaluation"))
    command = " ".join(("robustsnn evaluate", *args))
    row = Row(network=path.name, report=report)
    terminal.report(RunReport(recipe=recipe.table(), command=command, versions=versions(), rows=(row,)))


def show(args: Sequence[str]) -> None:
    """``list KIND``."""
    if len(args) != 1:
        raise ValueError(f"usage: robustsnn list KIND, with KIND one of {', '.join(KINDS)}")
    for entry in find("kind", KINDS, args[0])():
        print(entry)


def info(args: Sequence[str]) -> None:
    """``info FILE``."""
    if len(args) != 1:
        raise ValueError("usage: robustsnn info FILE.safetensors")
    path = Path(args[0])
    header = checkpoint.read_header(path)
    print(f"{path}: {header.kind}, {checkpoint.count(path):,} parameters")
    for name, value in {"recipe": header.recipe, "spiking": header.spiking, "metrics": header.metrics}.items():
        for key, entry in value.items():
            if key != "history":
                print(f"{name}.{key}: {entry}")


def speed(args: Sequence[str]) -> None:
    """``bench``."""
    if args:
        raise ValueError("usage: robustsnn bench")
    rows = [
        [t.what, f"{t.plain:.3f}", f"{t.ours:.3f}", f"{t.plain / t.ours:.2f}", f"{t.floor:.3f}", f"{t.ours / t.floor:.2f}"]
        for t in bench()
    ]
    terminal = Terminal()
    terminal.table(["ResNet-20, width 0.5, T = 8, batch 16", "plain s", "ours s", "ratio", "floor s", "ours/floor"], rows)
    terminal.say("Medians of repeats in turns; floor: the same network with ReLU on every step's copy of the image.")


def command(args: Sequence[str]) -> None:
    """Find the command that the arguments name, and do it."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return None
    name, rest = args[0], args[1:]
    if rest and rest[0] in ("-h", "--help"):
        print(USAGE, end="")
        return None
    if name == "evaluate" and rest and rest[0].endswith(".safetensors"):
        return evaluate_checkpoint(rest)
    simple: Mapping[str, Callable[[Sequence[str]], None]] = {"list": show, "info": info, "bench": speed}
    stages = {stage_name: lambda rest: stage(name, rest) for stage_name in STAGES}
    return find("command", {**stages, **simple}, name)(rest)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point: 0, or 2 after one line on the error channel, or 130 when interrupted."""
    sys.path.append("")  # so that --ann finds modules in the folder where the command is given
    try:
        command(sys.argv[1:] if args is None else args)
    except KeyboardInterrupt:
        print("robustsnn: stopped; the same command continues where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except (ValueError, FloatingPointError) as error:
        print(f"robustsnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Exception as error:
        if os.environ.get("ROBUSTSNN_DEBUG"):
            traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(f"robustsnn: internal error: {what}; ROBUSTSNN_DEBUG=1 shows where", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
