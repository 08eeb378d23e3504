"""A run from stage to stage. What a finished stage has made is never made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robustsnn.names import find
from robustsnn.recipes.stages import STAGES, making

if TYPE_CHECKING:
    import robustsnn.recipes.run


def checked(run: robustsnn.recipes.run.Run) -> tuple[robustsnn.recipes.run.Run, ...]:
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


def run_all(run: robustsnn.recipes.run.Run, until: str = "report") -> Any:
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
