"""The command line: parse, run, print. Every error is one line that says what, where and what to do."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from robustsnn import checkpoint, machine
from robustsnn.attacks import ATTACKS
from robustsnn.bench import ROWS, Case, Timing, bench
from robustsnn.data import DATASETS
from robustsnn.evaluation import PROTOCOLS, PUBLISHED_PATHS, STRONGER_PATHS
from robustsnn.files import write_atomic
from robustsnn.models import MODELS, outside
from robustsnn.names import find
from robustsnn.recipes import Recipe, Run, load_recipe, measuring, packaged, pipeline
from robustsnn.recipes.flags import for_protocol, parse
from robustsnn.recipes.recipe import from_table
from robustsnn.recipes.sections import Evaluation
from robustsnn.reporting import Row, RunReport, versions
from robustsnn.spiking import SURROGATES
from robustsnn.terminal import AuditFailed, Terminal
from robustsnn.training import OBJECTIVES

KINDS: dict[str, Callable[[], Sequence[str]]] = {
    "recipes": lambda: list(packaged()),
    "models": lambda: list(MODELS),
    "datasets": lambda: list(DATASETS),
    "objectives": lambda: list(OBJECTIVES),
    "attacks": lambda: list(ATTACKS),
    "surrogates": lambda: list(SURROGATES),
    "paths": lambda: [str(path) for path in (*PUBLISHED_PATHS, *STRONGER_PATHS)],
    "protocols": lambda: [f"{name}: {', '.join(p.ensembles)}" for name, p in PROTOCOLS.items()],
}

USAGE = (
    """robustsnn: adversarially robust spiking neural networks

  robustsnn run RECIPE [--out DIR] [--section.key value ...]
                          the whole pipeline; continues where it stopped
  robustsnn pretrain | convert | finetune | evaluate | report RECIPE [--out DIR] [--section.key value ...]
                          one stage of it
  robustsnn evaluate FILE.safetensors [--eps 8/255 ...] [--protocol NAME] ...
                          measure a checkpoint; --ann package.module:factory makes a body from outside,
                          --strict exits with 3 where a check of the audit fails, --out DIR writes the report there
  robustsnn list KIND     KIND: """
    + ", ".join(KINDS)
    + """
  robustsnn info FILE.safetensors
                          what a checkpoint holds
  robustsnn bench         how fast this machine is, as ratios within one run

Everywhere: --system-allocator leaves memory to the C library (less held, slower).
RECIPE is a packaged name (see 'robustsnn list recipes') or a TOML file. 'robustsnn run RECIPE --help' lists every key.
"""
)


@dataclass(frozen=True)
class RunArguments:
    """Where a run lives, and its recipe."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path
    """folder of the run; a run found there is continued"""


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
    default = RunArguments(recipe, Path("runs") / recipe.name)
    chosen = parse(RunArguments, default, args[1:], f"robustsnn {name} {args[0]}", recipe)
    terminal = Terminal()
    # once more as a whole: flags are checked one by one
    baseline = "" if args[0].endswith(".toml") else args[0].partition(":")[2]
    run = Run(from_table(chosen.recipe.table(), "recipe"), chosen.out, terminal.listener(), baseline or "robust")
    if run.recipe.ann:
        sys.path.append("")  # its module may lie in the folder where the command is given
    with terminal.bar:
        result = STAGES[name](run)
    if isinstance(result, RunReport):
        terminal.report(result, strict)
        if name in ("run", "report"):
            terminal.say(f"\nThe report is in {run.out / 'report.html'} (and .md, .json).")


def evaluate_checkpoint(args: Sequence[str], strict: bool) -> None:
    """``evaluate FILE.safetensors``: with the evaluation of its own recipe, changed by flags."""
    path, again = Path(args[0]), ("robustsnn", "evaluate", *args, *(["--strict"] if strict else []))
    ann, rest = _taken("--ann", args[1:])
    out, rest = _taken("--out", rest)
    header, body = checkpoint.read_header(path), None
    if ann:
        sys.path.append("")  # its module may lie in the folder where the command is given
        model = header.recipe.get("model")
        body = outside(**{**(model if isinstance(model, dict) and "ann" in model else {}), "ann": ann})
    recipe = from_table({"name": path.stem, **header.recipe}, str(path))
    recipe = recipe.model_copy(update={"evaluation": for_protocol(recipe.evaluation, rest)})
    settings = parse(Evaluation, recipe.evaluation, rest, f"robustsnn evaluate {path}", recipe, "evaluation.")
    terminal = Terminal()
    recipe = recipe.model_copy(update={"evaluation": settings})
    run = Run(recipe, path.parent, terminal.listener())
    with terminal.bar:
        report = measuring.measure(run, checkpoint.load(path, body), path.name, path)
    row = Row(network=path.name, report=report)
    value = RunReport(recipe=recipe.table(), command=shlex.join(again), versions=versions(), rows=(row,))
    if out:
        measuring.write_report(value, Path(out))
    terminal.report(value, strict)


def _taken(flag: str, args: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The value of a flag, ``--flag value`` or ``--flag=value`` (empty: not given), and the other arguments."""
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith(f"{flag}=") else [arg])]
    if flag not in words:
        return "", words
    place = words.index(flag)
    if place + 1 == len(words):
        raise ValueError(f"{flag} needs a value")
    return words[place + 1], words[:place] + words[place + 2 :]


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


def command(args: Sequence[str]) -> None:
    """Find the command that the arguments name, and do it."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return None
    if "--system-allocator" not in args:
        machine.keep_memory()
    machine.keep_machine_code(lambda line: print(line, file=sys.stderr))
    strict, name = "--strict" in args, args[0]
    rest = [arg for arg in args[1:] if arg not in ("--strict", "--system-allocator")]
    if rest and rest[0] in ("-h", "--help"):
        print(USAGE, end="")
        return None
    if name == "evaluate" and rest and rest[0].endswith(".safetensors"):
        return evaluate_checkpoint(rest, strict)
    if name == "evaluate" and rest and (rest[0].endswith((".pth", ".pt")) or Path(rest[0]).is_dir()):
        raise ValueError(
            f"{rest[0]} is no checkpoint of a run: give a .safetensors file; weights go to 'robustsnn run --weights'"
        )
    simple: Mapping[str, Callable[[Sequence[str]], None]] = {"list": show, "info": info, "bench": speed}
    stages = {stage_name: lambda rest: stage(name, rest, strict) for stage_name in STAGES}
    return find("command", {**stages, **simple}, name)(rest)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point: 0, or 2 after one line on the error channel, 3 where ``--strict`` finds a failed check, 130 interrupted."""
    try:
        command(sys.argv[1:] if args is None else args)
    except KeyboardInterrupt:
        print("robustsnn: stopped; the same command continues where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except AuditFailed:
        return 3
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
