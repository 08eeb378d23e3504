"""A run from stage to stage. What a finished stage has made is never made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustsnn.names import find
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.listener import Listener
from robustsnn.recipes.loggers import NONE
from robustsnn.recipes.recipe import Recipe, from_table, label, load_recipe, merged
from robustsnn.recipes.stages import STAGES, making

if TYPE_CHECKING:
    import robustsnn.recipes.working


def checked(run: robustsnn.recipes.working.Run) -> tuple[robustsnn.recipes.working.Run, ...]:
    """The run and its baselines, once it is sure that bodies can be built and that the folders hold what they should.

    Raises:
        ValueError: a body that cannot be built, or a folder that holds another run.
    """
    for each in run.everyone:
        missing = [stage for stage in making() if not each.finished(stage.makes) and stage.wanted(each.recipe)]
        for stage in missing[:1]:
            each.unbegun(stage.makes)
        each.body() if each.finished("ann") else each.start()
    return run.everyone


def run_all(run: robustsnn.recipes.working.Run, until: str = "report") -> Any:
    """Every stage that is not done yet, of the run and of its baselines.

    Arguments:
        until: the stage to end with.

    Returns:
        What that one gives: a report, or None from one that makes a network.

    Raises:
        ValueError: no such stage, or a run that has to be refused; then nothing is written.
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
                    each.listener.say(f"{each.label}: has no stage {stage.name!r}")
                elif each.finished(stage.makes):
                    each.listener.say(f"{each.label} {stage.network}: already made")
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
    """Carry out a recipe in a folder, as ``robustsnn run`` does. What the folder holds already is not made again.

    Arguments:
        recipe: a packaged one by name, the path of a TOML file, or a `Recipe`.
        out: the folder; ``runs/NAME`` if None.
        until: the stage to end with: ``pretrain``, ``staircase``, ``convert``, ``finetune``, ``evaluate`` or ``report``.
        engine: where to compute; listener: told of progress.
        logger: where the figures of every epoch go besides ``metrics.jsonl``: ``csv``, ``tensorboard`` or ``wandb``.
        changes: keys of the recipe, such as ``seed=1`` or ``evaluation={"limit": 100}``.

    Returns:
        The `RunReport` of all networks, or None where ``until`` is a stage before ``evaluate``.

    Raises:
        ValueError: a recipe that cannot be carried out, or a folder that holds another run; then nothing is written.

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
