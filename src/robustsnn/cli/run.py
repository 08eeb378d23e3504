"""``run``, ``evaluate`` and ``export``."""

import logging
import re
import shlex
import sys
from functools import partial
from pathlib import Path

from torch import nn

from robustsnn import checkpoint
from robustsnn.cli import arguments, machine
from robustsnn.cli.terminal import Ended, Terminal, complain, tell
from robustsnn.deploy import export
from robustsnn.models import outside
from robustsnn.processes import Team
from robustsnn.recipes import STAGES, Recipe, measuring, plan, run_all
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.recipe import from_table, label
from robustsnn.recipes.stages import making, shaped_by
from robustsnn.recipes.working import Run
from robustsnn.reporting import Row, RunReport, failures, write_report
from robustsnn.zoo import named

UNSAID = ("--json", "-q", "--quiet", "-v", "--verbose", "--system-allocator")
"""Words that change nothing of what a report says."""


def run(chosen: arguments.Run, terminal: Terminal) -> None:
    """``run RECIPE``."""
    if chosen.strict and STAGES[chosen.until].makes:
        raise ValueError(f"--strict tells of the audit, which --until {chosen.until} does not come to: leave one of them out")
    team = start(chosen.engine, terminal)
    recipe, out = chosen.recipe, chosen.out or Path("runs") / chosen.recipe.name
    work = Run(recipe, out, terminal.listener(), label(chosen.given, recipe), chosen.engine, team, chosen.logger)
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
        Ended: ``strict``, and a check of the audit failed.
        ValueError: ``strict``, and there was no audit.
    """
    if strict and not all(row.report.audit for row in value.rows):
        raise ValueError("--strict needs an audit, which was off: give a number of images to audit_images")
    if strict and failures(value):
        raise Ended(3)


def body_from_outside(header: checkpoint.Header, ann: str) -> nn.Module:
    """The body that ``--ann package.module:factory`` makes, with the arguments of the checkpoint's recipe."""
    machine.import_from_here()
    model = header.recipe.get("model")
    return outside(**{**(model if isinstance(model, dict) and "ann" in model else {}), "ann": ann})


def recipe_of(given: str) -> Recipe:
    """The recipe that a checkpoint holds, but for what chose epochs in training, which plays no part in measuring, and for the
    staircase stage of a network that it has made already."""
    table = {"name": _place(given).stem, **checkpoint.read_header(given).recipe}
    for key, part in table.items():
        if isinstance(part, dict):
            table[key] = {k: v for k, v in part.items() if k != "probe"}
    if "activation" in table.get("model", {}):
        table.pop("staircase", None)
    return from_table(table, given)


def _place(given: str) -> Path:
    """The file beside which the state of an evaluation is kept."""
    return Path("runs", re.sub(r"\W+", "/", given, count=1)) if named(given) else Path(given)


def evaluate(chosen: arguments.Evaluate, terminal: Terminal) -> None:
    """Measure a checkpoint with the evaluation of its own recipe, changed by flags."""
    given, path, header = chosen.given, _place(chosen.given), checkpoint.read_header(chosen.given)
    body = body_from_outside(header, chosen.ann) if chosen.ann else None
    if not (chosen.data or "data" in header.recipe):
        raise ValueError(f"{given} does not name the images that it is for: name a data set, as in --data digits")
    team = start(chosen.engine, terminal)
    recipe = recipe_of(given).model_copy(update={"evaluation": chosen.settings})
    if chosen.data:
        recipe = from_table({**recipe.table(), "data": {"name": chosen.data}}, "--data")
    run = Run(recipe, path.parent, terminal.listener(), recipe.name, chosen.engine, team)
    name = Path(given).name
    with terminal.bar:
        report = measuring.measure(run, checkpoint.load(given, body).to(team.device), name, path)
    value = RunReport(
        recipe=recipe.table(),
        command=shlex.join(("robustsnn", "evaluate", *(word for word in terminal.words if word not in UNSAID))),
        versions=measuring.made_with(run),
        plan=_plan(recipe, name, header),
        rows=(Row(network=name, report=report),),
    )
    if chosen.out:
        run.alone(partial(write_report, value, chosen.out))
    team.part()
    terminal.answer(value, lambda: terminal.report(value))
    judge(value, chosen.strict)


def _plan(recipe: Recipe, name: str, header: checkpoint.Header) -> tuple[str, ...]:
    """What the checkpoint of that name is measured on and how; of how it was made, what its header says."""
    images, made, measured = plan(recipe.model_copy(update={"compare": ()}), f"the run that made {name}")
    known = header.recipe.keys() >= {*shaped_by("snn")}  # a checkpoint that was saved by hand need not tell
    return (images, made, measured) if known else (images, measured)


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
