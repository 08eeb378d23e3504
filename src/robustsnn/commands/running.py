"""The commands that work: the stages of a run, the evaluation of a checkpoint, export."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robustsnn import checkpoint
from robustsnn.compute import machine
from robustsnn.deploy import export
from robustsnn.models import outside
from robustsnn.processes import Team
from robustsnn.recipes import Run, measuring, pipeline, plan
from robustsnn.recipes.flags import EvaluationArguments, arguments, for_protocol, parse
from robustsnn.recipes.recipe import Recipe, from_table, label
from robustsnn.recipes.run import SHAPED_BY
from robustsnn.reporting import Row, RunReport, failures, write_report
from robustsnn.terminal import Terminal, complain
from robustsnn.training.engine import Engine
from robustsnn.zoo import PREFIX

CONTINUES = "the same command continues where it stopped"


class AuditFailed(Exception):
    """Somebody who asked for it is told by the exit status that a check of the audit failed."""


STAGES: dict[str, Callable[[Run], Any]] = {
    "run": pipeline.run_all,
    "pretrain": pipeline.pretrain,
    "staircase": pipeline.staircase,
    "convert": pipeline.convert,
    "finetune": pipeline.finetune,
    "evaluate": measuring.evaluate,
    "report": measuring.report,
}


def stage(name: str, args: Sequence[str], strict: bool, terminal: Terminal) -> None:
    """``run`` or one stage of it."""
    if not args or args[0].startswith("-"):
        raise ValueError(f"usage: robustsnn {name} RECIPE [--out DIR] [--section.key value ...]; see 'robustsnn list recipes'")
    chosen = arguments(args, f"robustsnn {name}")
    team = start(chosen.engine, terminal)
    run = Run(chosen.recipe, chosen.out, terminal.listener(), label(args[0], chosen.recipe), chosen.engine, team)
    if run.recipe.ann:
        machine.import_from_here()
    if name == "run":
        terminal.say("\n".join(plan(run.recipe, run.label)))
    with terminal.bar:
        result = STAGES[name](run)
    team.part()
    if not isinstance(result, RunReport):
        made = [path for each in run.everyone for name in SHAPED_BY if (path := each.path(name)).exists()]
        return terminal.answer({"out": run.out, "checkpoints": made}, lambda: None)
    terminal.answer(result, lambda: terminal.report(result))
    if name in ("run", "report"):
        terminal.say(f"\nThe report is in {run.out / 'report.html'} (and .md, .json).")
    return _judge(result, strict)


def evaluate_checkpoint(args: Sequence[str], strict: bool, terminal: Terminal) -> None:
    """``evaluate FILE.safetensors``: with the evaluation of its own recipe, changed by flags."""
    if long := next((arg for arg in args if arg.startswith("--evaluation.")), ""):
        raise ValueError(
            f"{long}: a checkpoint takes the keys of [evaluation] by themselves: write --{long.partition('.')[2]}"
        )
    given, again = args[0], ("robustsnn", "evaluate", *args, *(["--strict"] if strict else []))
    path = Path("runs/zoo", given.removeprefix(PREFIX)) if given.startswith(PREFIX) else Path(given)  # where its state is kept
    header, body = checkpoint.read_header(given), None
    recipe = from_table({"name": path.stem, **_without_probes(header.recipe)}, given)
    default = EvaluationArguments(for_protocol(recipe.evaluation, args))
    recipe = recipe.model_copy(update={"evaluation": default.settings})
    chosen = parse(EvaluationArguments, default, args[1:], f"robustsnn evaluate {given}", recipe, "evaluation.")
    if chosen.ann:
        body = _outside(header, chosen.ann)
    if not (chosen.data or "data" in header.recipe):
        raise ValueError(f"{given} does not name the images that it is for: name a data set, as in --data digits")
    team = start(chosen.engine, terminal)
    recipe = recipe.model_copy(update={"evaluation": chosen.settings})
    if chosen.data:
        recipe = from_table({**recipe.table(), "data": {"name": chosen.data}}, "--data")
    run = Run(recipe, path.parent, terminal.listener(), recipe.name, chosen.engine, team)
    name = Path(given).name
    with terminal.bar:
        report = measuring.measure(run, checkpoint.load(given, body).to(team.fabric.device), name, path)
    value = RunReport(
        recipe=recipe.table(),
        command=shlex.join(again),
        versions=measuring.made_with(run),
        plan=_plan(recipe, name, header),
        rows=(Row(network=name, report=report),),
    )
    if chosen.out:
        run.alone(partial(write_report, value, chosen.out))
    team.part()
    terminal.answer(value, lambda: terminal.report(value))
    _judge(value, strict)


def _without_probes(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a checkpoint without what chose the epochs of its trainings, which plays no part in measuring it."""
    parts = recipe.items()
    return {key: {k: v for k, v in part.items() if k != "probe"} if isinstance(part, dict) else part for key, part in parts}


def _plan(recipe: Recipe, name: str, header: checkpoint.Header) -> tuple[str, ...]:
    """What the checkpoint of that name is measured on and how; of how it was made, what its header says."""
    images, made, measured = plan(recipe.model_copy(update={"compare": ()}), f"the run that made {name}")
    known = header.recipe.keys() >= {*SHAPED_BY["snn"]}  # a checkpoint that was saved by hand need not tell
    return (images, made, measured) if known else (images, measured)


def _judge(value: RunReport, strict: bool) -> None:
    """Let the exit status tell of a failed audit.

    Raises:
        AuditFailed: ``strict``, and a check of the audit failed.
        ValueError: ``strict``, and there was no audit.
    """
    if strict and not all(row.report.audit for row in value.rows):
        raise ValueError("--strict needs an audit, which was off: give a number of images to audit_images")
    if strict and failures(value):
        raise AuditFailed


def _outside(header: checkpoint.Header, ann: str) -> nn.Module:
    """The body that ``--ann package.module:factory`` makes, with the arguments of the checkpoint's recipe."""
    machine.import_from_here()
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


def leave(args: Sequence[str], terminal: Terminal) -> None:
    """``export FILE.safetensors``."""
    if not args or args[0].startswith("-"):
        raise ValueError("usage: robustsnn export FILE.safetensors --out FILE [--to nir|onnx] [--target NAME]")
    chosen = parse(ExportArguments, None, args[1:], f"robustsnn export {args[0]}")
    body = _outside(checkpoint.read_header(args[0]), chosen.ann) if chosen.ann else None
    remarks = export(args[0], chosen.out, chosen.to, chosen.target, chosen.shape, body)
    lines = [f"{chosen.out} is written. What differs from the network:", *(f"  {remark}" for remark in remarks)]
    terminal.answer({"file": chosen.out, "remarks": remarks}, lambda: terminal.say("\n".join(lines)))


def start(engine: Engine, terminal: Terminal) -> Team:
    """The processes of a run, of which the first one speaks."""
    if engine.deterministic:
        machine.deterministic()
    machine.listen("lightning_fabric.strategies.launchers.subprocess_script", _LastWords())
    team = engine.launch()
    if not team.first:
        terminal.mute()
    return team


class _LastWords(logging.Handler):
    """What is said before lightning kills this process, because another one of the run has died."""

    def emit(self, record: logging.LogRecord) -> None:
        if "terminated with code" in record.getMessage():
            complain(f"error: another process of this run has died; {CONTINUES}")
