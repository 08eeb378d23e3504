"""``certify CHECKPOINT``."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Any

from robustsnn import checkpoint
from robustsnn.certification import certify, method
from robustsnn.cli import arguments
from robustsnn.cli.run import UNSAID, measured, place, recipe_of, start
from robustsnn.cli.terminal import Terminal
from robustsnn.evaluation import PRESETS
from robustsnn.evaluation.measures.energy import operations
from robustsnn.recipes import measuring
from robustsnn.recipes.recipe import from_table
from robustsnn.recipes.stages import making
from robustsnn.recipes.working import Run
from robustsnn.reporting import RunReport, read_report, sections, write_report
from robustsnn.seeds import derive


def bound(chosen: arguments.Certify, terminal: Terminal) -> None:
    """Run ``certify``: certify a checkpoint, and add the result to the report in ``--out``, if there is one."""
    methods = [method(text) for text in chosen.method]
    given, path, (_, body) = chosen.given, place(chosen.given), measured(chosen)
    team = start(chosen.engine, terminal)
    recipe = recipe_of(given)
    if chosen.data:
        recipe = from_table({**recipe.table(), "data": {"name": chosen.data}}, "--data")
    run = Run(recipe, path.parent, terminal.listener(), recipe.name, chosen.engine, team)
    name, net, found = Path(given).name, checkpoint.load(given, body).to(team.device), list[Any]()
    spent = operations(net, run.data.test.first(chosen.limit).first(100).near(team.device))
    energy = {"nanojoules": next(iter(PRESETS.values()))(spent) if spent else None}
    with terminal.bar:
        for each in methods:
            state = path.with_suffix(f".{derive(repr(each), chosen.seed, str(chosen.limit)):016x}.certification")
            run.listener.say(f"{name}: {each}{', resumed' if any(state.parent.glob(f'{state.name}*')) else ''}")
            found.append(
                certify(
                    net,
                    run.data.test,
                    each,
                    limit=chosen.limit,
                    batch=chosen.batch,
                    seed=chosen.seed,
                    fabric=team.fabric,
                    state=state,
                    on_progress=terminal.progress,
                ).model_copy(update=energy)
            )
    value = RunReport(
        recipe=recipe.table(),
        command=shlex.join(("robustsnn", "certify", *(word for word in terminal.words if word not in UNSAID))),
        versions=measuring.made_with(run),
    )
    kept = chosen.out / "report.json" if chosen.out else None
    if kept and kept.is_file():
        value = read_report(kept.read_bytes(), kept)
        name = measured_as(value, path, kept.parent) or name
    bounds = {**value.lower_bounds, name: tuple(found)}
    value = value.model_copy(update={"lower_bounds": bounds})
    if chosen.out:
        run.alone(partial(write_report, value, chosen.out))
    team.part()
    terminal.answer(found, lambda: show(value, terminal))


def measured_as(report: RunReport, path: Path, folder: Path) -> str | None:
    """Return the name of a run's own checkpoint in the run's report; None if it is of another folder."""
    stages = [stage for stage in making() if stage.makes == path.stem and path.resolve().parent == folder.resolve()]
    return next((row.network for row in report.rows for stage in stages if row.network.endswith(f" {stage.network}")), None)


def show(value: RunReport, terminal: Terminal) -> None:
    """Print the table of lower bounds, and what each method cost."""
    section = sections(value)["bounds"]
    terminal.table(*section.table)
    for what, note in section.notes.items():
        terminal.say(f"\n{what}: {note}")
