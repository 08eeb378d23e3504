"""``evaluate FILE.safetensors``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from robustsnn import checkpoint
from robustsnn.cli.arguments import Evaluate
from robustsnn.cli.run import body_from_outside, judge, start
from robustsnn.cli.terminal import Terminal
from robustsnn.recipes import Recipe, measuring, plan
from robustsnn.recipes.recipe import from_table
from robustsnn.recipes.run import Run
from robustsnn.recipes.stages import shaped_by
from robustsnn.reporting import Row, RunReport, write_report
from robustsnn.zoo import PREFIX

UNSAID = ("--json", "-q", "--quiet", "-v", "--verbose", "--system-allocator")
"""Words that change nothing of what a report says."""


def recipe_of(given: str) -> Recipe:
    """The recipe that a checkpoint holds."""
    return from_table({"name": _place(given).stem, **_without_probes(checkpoint.read_header(given).recipe)}, given)


def _without_probes(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a checkpoint without what chose the epochs of its trainings, which plays no part in measuring it."""
    parts = recipe.items()
    return {key: {k: v for k, v in part.items() if k != "probe"} if isinstance(part, dict) else part for key, part in parts}


def _place(given: str) -> Path:
    """The file beside which the state of an evaluation is kept."""
    return Path("runs/zoo", given.removeprefix(PREFIX)) if given.startswith(PREFIX) else Path(given)


def evaluate(chosen: Evaluate, terminal: Terminal) -> None:
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
        report = measuring.measure(run, checkpoint.load(given, body).to(team.fabric.device), name, path)
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
