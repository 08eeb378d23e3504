"""Runs a recipe stage by stage, skipping finished stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustsnn.names import find
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.listener import Listener
from robustsnn.recipes.loggers import NONE
from robustsnn.recipes.loggers import check as check_logger
from robustsnn.recipes.recipe import Recipe, from_table, label, load_recipe, merged
from robustsnn.recipes.stages import STAGES, making

if TYPE_CHECKING:
    import robustsnn.recipes.working


def checked(run: robustsnn.recipes.working.Run) -> tuple[robustsnn.recipes.working.Run, ...]:
    """Check that networks can be built, that folders belong to this recipe, and that the logger is installed; return the run
    and its baselines.

    Raises:
        ValueError: a network cannot be built, a folder holds another run, or the logger is unknown or not installed.
    """
    check_logger(run.logger)
    for each in run.everyone:
        missing = [stage for stage in making() if not each.finished(stage.makes) and stage.wanted(each.recipe)]
        for stage in missing[:1]:
            each.unbegun(stage.makes)
        each.body() if each.finished("ann") else each.start()
    return run.everyone


def run_all(run: robustsnn.recipes.working.Run, until: str = "report") -> Any:
    """Run all unfinished stages of a run and its baselines.

    Arguments:
        until: the last stage to run.

    Returns:
        The result of the last stage: a report, or None if it makes a network.

    Raises:
        ValueError: the stage is unknown, or `checked` fails; nothing is written then.
    """
    last, result = find("stage", STAGES, until), None
    for each in checked(run):
        each.alone(each.begin)
    for stage in STAGES.values():
        if not stage.makes:
            result = stage.do(run)
        elif stage.wanted(run.recipe):
            for each in run.everyone:
                if not stage.wanted(each.recipe):
                    each.listener.say(f"{each.label}: stage {stage.name!r} does not apply")
                elif each.finished(stage.makes):
                    each.listener.say(f"{each.label} {stage.network}: already finished")
                else:
                    stage.do(each)
        if stage is last:
            break
    return result


def run(
    recipe: str | Path | Recipe,
    out: Path | str | None = None,
    *,
    until: str = "report",
    engine: Engine = Engine(),
    listener: Listener = Listener(),
    logger: str = NONE,
    **changes: Any,
) -> Any:
    """Run a recipe in a folder, like ``robustsnn run``; finished stages are skipped.

    Arguments:
        recipe: name of a packaged recipe, path of a TOML file, or a `Recipe`.
        out: the folder; ``runs/NAME`` if None.
        until: the last stage to run: ``pretrain``, ``prune``, ``staircase``, ``convert``, ``finetune``, ``evaluate`` or
            ``report``.
        engine: devices.
        listener: receives messages and progress.
        logger: an additional destination of every epoch's metrics: ``csv``, ``tensorboard`` or ``wandb``.
        changes: changed keys of the recipe, such as ``seed=1`` or ``evaluation={"limit": 100}``.

    Returns:
        The `RunReport` of all networks, or None if ``until`` is a stage before ``evaluate``.

    Raises:
        ValueError: the recipe cannot be run, or the folder holds another run; nothing is written then.

    >>> report = run("digits", out="runs/digits")  # doctest: +SKIP
    """
    from robustsnn.recipes.working import Run

    value = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe))
    if changes:
        value = from_table(merged(value.table(), changes), "run")
    folder = Path("runs", value.name) if out is None else Path(out)
    called = value.called if isinstance(recipe, Recipe) else label(str(recipe), value)
    team = engine.launch()
    result = run_all(Run(value, folder, listener, called, engine, team, logger), until)
    team.part()
    return result
