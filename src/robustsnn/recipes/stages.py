"""The stages of a run, in order. To add one, add an entry to `STAGES` and the function that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robustsnn.lazy import later
from robustsnn.recipes.recipe import Recipe
from robustsnn.recipes.sections import Training


@dataclass(frozen=True)
class Stage:
    """A stage, as used by the command line, runs, plans and reports.

    Arguments:
        name: name for ``--until``, metrics and training curves.
        do: runs the stage. Called with a `Run`: for a stage that makes a network with the run and each baseline, otherwise
            with the run only.
        makes: name of the checkpoint ``<makes>.safetensors``; empty if the stage makes no network.
        network: name of that network in tables.
        keys: parts of a recipe that the stage depends on, in addition to those of earlier stages.
        words: describes the stage in a plan.
        wanted: whether a recipe has this stage.
    """

    name: str
    do: Callable[[Any], Any]
    makes: str = ""
    network: str = ""
    keys: tuple[str, ...] = ()
    words: Callable[[Recipe], str] = lambda recipe: ""
    wanted: Callable[[Recipe], bool] = lambda recipe: True


def _pretrained(recipe: Recipe) -> str:
    ann = f"ANN {recipe.ann or recipe.model.name}"
    if recipe.weights:
        return f"{ann}, weights of {recipe.weights}"
    return f"{ann}, random weights" if recipe.untrained else f"{ann} by {_training(recipe.pretrain)}"


def _converted(recipe: Recipe) -> str:
    how = recipe.conversion
    found = f"{how.scale:g} x calibrated" if how.threshold is None else f"{how.threshold:g}"
    return f"SNN, T = {recipe.timesteps}, thresholds {found}"


def _training(how: Training) -> str:
    return f"{how.objective}, {_epochs(how.epochs)}{''.join(f', {act}' for act in how.after_step)}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


_MAKING, _MEASURING = "robustsnn.recipes.making", "robustsnn.recipes.measuring"

_IN_ORDER = (
    Stage(
        "pretrain",
        later(_MAKING, "pretrain"),
        makes="ann",
        network="ANN",
        keys=("seed", "data", "ann", "weights", "model", "pretrain"),
        words=_pretrained,
    ),
    Stage(
        "prune",
        later(_MAKING, "prune_ann"),
        makes="pruned",
        network="ANN, pruned",
        keys=("prune",),
        words=lambda recipe: f"{recipe.prune.sparsity:.3g} of the weights removed, {_epochs(recipe.prune.epochs)}",
        wanted=lambda recipe: recipe.prune.sparsity > 0,
    ),
    Stage(
        "staircase",
        later(_MAKING, "staircase"),
        makes="staircase",
        network="ANN, staircase",
        keys=("staircase", "timesteps"),
        words=lambda recipe: f"in {recipe.levels} levels by {_training(recipe.staircase)}",
        wanted=lambda recipe: recipe.staircase.epochs > 0,
    ),
    Stage(
        "convert",
        later(_MAKING, "convert"),
        makes="converted",
        network="SNN, converted",
        keys=("timesteps", "neurons", "conversion"),
        words=_converted,
    ),
    Stage(
        "finetune",
        later(_MAKING, "finetune"),
        makes="snn",
        network="SNN, finetuned",
        keys=("finetune",),
        words=lambda recipe: f"finetuned by {_training(recipe.finetune)}" if recipe.finetune.epochs else "not finetuned",
    ),
    Stage("evaluate", later(_MEASURING, "evaluate")),
    Stage("report", later(_MEASURING, "report")),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _IN_ORDER}


def making(recipe: Recipe | None = None) -> tuple[Stage, ...]:
    """Return the stages that make a network, all or those of a recipe."""
    return tuple(stage for stage in STAGES.values() if stage.makes and (recipe is None or stage.wanted(recipe)))


def made_by(network: str) -> Stage:
    """Return the stage that makes a checkpoint."""
    return next(stage for stage in making() if stage.makes == network)


def shaped_by(network: str) -> tuple[str, ...]:
    """Return the parts of a recipe that a checkpoint depends on: those of its stage and of all earlier stages."""
    before = making()[: making().index(made_by(network)) + 1]
    return tuple(key for stage in before for key in stage.keys)


def needed_by(name: str, recipe: Recipe) -> str:
    """Return the checkpoint that a network-making stage starts from: the result of the previous such stage."""
    whole = making(recipe)
    return whole[whole.index(STAGES[name]) - 1].makes
