"""The commands ``run``, ``evaluate`` and ``export``."""

import logging
import re
import shlex
import sys
from contextlib import suppress
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
from robustsnn.reporting.writing import a_folder
from robustsnn.zoo import HUB, named

UNSAID = ("--json", "-q", "--quiet", "-v", "--verbose", "--system-allocator")
"""Flags that do not affect a report and are left out of its command line."""


TOLD = ("name", "data", "evaluation")
"""Parts of the recipe of an evaluation that hold for every checkpoint."""


def run(chosen: arguments.Run, terminal: Terminal) -> None:
    """Run ``run RECIPE``."""
    if chosen.strict and STAGES[chosen.until].makes:
        raise ValueError(f"--strict needs an audit, but --until {chosen.until} ends before it: leave one of them out")
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
    """End with exit status 3 under ``strict`` if a check of the audit failed.

    Raises:
        Ended: ``strict``, and a check of the audit failed.
        ValueError: ``strict``, but there was no audit.
    """
    if strict and not all(row.report.audit for row in value.rows):
        raise ValueError("--strict needs an audit, but there was none: set audit_images to 1 or more")
    if strict and failures(value):
        raise Ended(3)


def body_from_outside(header: checkpoint.Header, ann: str) -> nn.Module:
    """Build the ANN of ``--ann package.module:factory`` with the arguments in the checkpoint's recipe."""
    machine.import_from_here()
    model = header.recipe.get("model")
    return outside(**{**(model if isinstance(model, dict) and "ann" in model else {}), "ann": ann})


def measured(chosen: arguments.Evaluate | arguments.Certify) -> tuple[checkpoint.Header, nn.Module | None]:
    """Return the header of the checkpoint to measure, and its ANN if a flag names its code.

    Raises:
        ValueError: neither the checkpoint nor a flag names the data set.
    """
    header = checkpoint.read_header(chosen.given)
    if not (chosen.data or "data" in header.recipe):
        model = header.recipe.get("model")
        coded = chosen.ann or (isinstance(model, dict) and "name" in model)
        code = "" if coded else ", and the code of its network by --ann package.module:factory"
        raise ValueError(f"{chosen.given} does not name its data set: add one, such as --data digits{code}")
    return header, body_from_outside(header, chosen.ann) if chosen.ann else None


def recipe_of(given: str) -> Recipe:
    """Return a checkpoint's recipe without probes, which do not affect the evaluation, and without a staircase stage that has
    already shaped the network. Without a section ``[evaluation]``, the strictest protocol is used."""
    table = {"name": place(given).stem, **checkpoint.read_header(given).recipe}
    for key, part in table.items():
        if isinstance(part, dict):
            table[key] = {k: v for k, v in part.items() if k != "probe"}
    if remote := _remote(checkpoint.read_header(given)):
        table["evaluation"]["transfer"] = [name for name in table["evaluation"]["transfer"] if name not in remote]
    if "activation" in table.get("model", {}):
        table.pop("staircase", None)
    recipe = from_table(table, given)
    return recipe if "evaluation" in table else recipe.model_copy(update={"evaluation": arguments.UNSTATED})


def _remote(header: checkpoint.Header) -> list[str]:
    """Return the networks of the hub that a checkpoint's recipe transfers from; only a flag may start their download."""
    evaluation = header.recipe.get("evaluation")
    named = evaluation.get("transfer") if isinstance(evaluation, dict) else ()
    return [name for name in named if str(name).startswith(HUB)] if isinstance(named, list) else []


def place(given: str) -> Path:
    """Return the path next to which the evaluation's state is kept."""
    return Path("runs", re.sub(r"\W+", "/", given, count=1) + ".safetensors") if named(given) else Path(given)


def evaluate(chosen: arguments.Evaluate, terminal: Terminal) -> None:
    """Run ``evaluate CHECKPOINT``: measure a checkpoint as its recipe says, with changes from flags."""
    given, path, (header, body) = chosen.given, place(chosen.given), measured(chosen)
    if chosen.out:
        a_folder(chosen.out)
    team = start(chosen.engine, terminal)
    recipe = recipe_of(given)
    ann = chosen.ann if recipe.ann else ""  # code runs only if a flag names it
    recipe = recipe.model_copy(update={"evaluation": chosen.settings, "ann": ann})
    if chosen.data:
        recipe = from_table({**recipe.table(), "data": {"name": chosen.data}}, "--data")
    made = [folder for folder in path.parents if named(given) and not folder.exists()]
    for other in _remote(header):
        if other not in chosen.settings.transfer:
            terminal.note(f"no transfer from {other}, which the checkpoint names: add --transfer {other} to download it")
    run = Run(recipe, path.parent, terminal.listener(), recipe.name, chosen.engine, team)
    name = Path(given).name
    with terminal.bar:
        report = measuring.measure(run, checkpoint.load(given, body).to(team.device), name, path)
    value = RunReport(
        recipe={key: value for key, value in recipe.table().items() if _made_here(header) or key in (*header.recipe, *TOLD)},
        command=shlex.join(("robustsnn", "evaluate", *(word for word in terminal.words if word not in UNSAID))),
        versions=measuring.made_with(run),
        note=run.data.note,
        plan=_plan(recipe, name, header),
        rows=(Row(network=name, report=report),),
    )
    for folder in made:  # for resumable state, which is gone
        with suppress(OSError):
            folder.rmdir()
    if chosen.out:
        run.alone(partial(write_report, value, chosen.out))
    team.part()
    terminal.answer(value, lambda: terminal.report(value))
    judge(value, chosen.strict)


def _plan(recipe: Recipe, name: str, header: checkpoint.Header) -> tuple[str, ...]:
    """Return a plan of the evaluation of a checkpoint, and of its training if the header describes it."""
    images, made, measured = plan(recipe.model_copy(update={"compare": ()}), f"the run that made {name}")
    return (images, made, measured) if _made_here(header) else (images, measured)


def _made_here(header: checkpoint.Header) -> bool:
    """Return whether the recipe of a checkpoint is complete; that of a network that was saved or changed by hand is not."""
    return header.recipe.keys() >= {*shaped_by("snn")}


def leave(chosen: arguments.Export, terminal: Terminal) -> None:
    """Run ``export FILE.safetensors``."""
    if chosen.out is None:
        raise ValueError(f"usage: robustsnn export {chosen.given} --out FILE [--to nir|onnx] [--target NAME]")
    body = body_from_outside(checkpoint.read_header(chosen.given), chosen.ann) if chosen.ann else None
    remarks = export(chosen.given, chosen.out, chosen.to, chosen.target, chosen.shape, body)
    lines = [f"{chosen.out} is written. Differences from the network:", *(f"  {remark}" for remark in remarks)]
    terminal.answer({"file": chosen.out, "remarks": remarks}, lambda: terminal.say("\n".join(lines)))


def start(engine: Engine, terminal: Terminal) -> Team:
    """Start the processes of a run; only the first one prints."""
    machine.keep_machine_code(lambda line: tell(line, sys.stderr))
    if engine.deterministic:
        machine.deterministic()
    machine.listen("lightning_fabric.strategies.launchers.subprocess_script", _LastWords())
    team = engine.launch()
    if not team.first:
        terminal.mute()
    return team


class _LastWords(logging.Handler):
    """Prints an error before lightning kills this process because another process of the run died."""

    def emit(self, record: logging.LogRecord) -> None:
        if "terminated with code" in record.getMessage():
            complain("error: another process of this run died; the same command continues where it stopped")
