"""``run`` and ``export``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from torch import nn

from robustsnn import checkpoint
from robustsnn.cli import arguments, machine
from robustsnn.cli.terminal import AuditFailed, Terminal, complain, tell
from robustsnn.deploy import export
from robustsnn.models import outside
from robustsnn.processes import Team
from robustsnn.recipes import STAGES, plan, run_all
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.recipe import label
from robustsnn.recipes.run import Run
from robustsnn.recipes.stages import making
from robustsnn.reporting import RunReport, failures


def run(chosen: arguments.Run, terminal: Terminal) -> None:
    """``run RECIPE``."""
    if chosen.strict and STAGES[chosen.until].makes:
        raise ValueError(f"--strict tells of the audit, which --until {chosen.until} does not come to: leave one of them out")
    team = start(chosen.engine, terminal)
    recipe, out = chosen.recipe, chosen.out or Path("runs") / chosen.recipe.name
    work = Run(recipe, out, terminal.listener(), label(chosen.given, recipe), chosen.engine, team)
    if recipe.ann:
        machine.import_from_here()
    terminal.note("\n".join(plan(recipe, work.label)))
    with terminal.bar:
        result = run_all(work, chosen.until)
    team.part()
    if not isinstance(result, RunReport):
        paths = [each.path(stage.makes) for each in work.everyone for stage in making()]
        return terminal.answer({"out": out, "checkpoints": [path for path in paths if path.exists()]}, lambda: None)
    terminal.answer(result, lambda: terminal.report(result))
    if chosen.until == "report":
        terminal.note(f"\nThe report is in {out / 'report.html'} (and .md, .json).")
    return judge(result, chosen.strict)


def judge(value: RunReport, strict: bool) -> None:
    """Let the exit status tell of a failed audit.

    Raises:
        AuditFailed: ``strict``, and a check of the audit failed.
        ValueError: ``strict``, and there was no audit.
    """
    if strict and not all(row.report.audit for row in value.rows):
        raise ValueError("--strict needs an audit, which was off: give a number of images to audit_images")
    if strict and failures(value):
        raise AuditFailed


def body_from_outside(header: checkpoint.Header, ann: str) -> nn.Module:
    """The body that ``--ann package.module:factory`` makes, with the arguments of the checkpoint's recipe."""
    machine.import_from_here()
    model = header.recipe.get("model")
    return outside(**{**(model if isinstance(model, dict) and "ann" in model else {}), "ann": ann})


def leave(chosen: arguments.Export, terminal: Terminal) -> None:
    """``export FILE.safetensors``."""
    if chosen.out is None:
        raise ValueError(f"usage: robustsnn export {chosen.given} --out FILE [--to nir|onnx] [--target NAME]")
    body = body_from_outside(checkpoint.read_header(chosen.given), chosen.ann) if chosen.ann else None
    remarks = export(chosen.given, chosen.out, chosen.to, chosen.target, chosen.shape, body)
    lines = [f"{chosen.out} is written. What differs from the network:", *(f"  {remark}" for remark in remarks)]
    terminal.answer({"file": chosen.out, "remarks": remarks}, lambda: terminal.say("\n".join(lines)))


def start(engine: Engine, terminal: Terminal) -> Team:
    """The processes of a run, of which the first one speaks."""
    machine.keep_machine_code(lambda line: tell(line, sys.stderr))
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
            complain("error: another process of this run has died; the same command continues where it stopped")
