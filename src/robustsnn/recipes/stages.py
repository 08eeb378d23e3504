"""The stages of a run, in order. A new one is an entry of `STAGES` and the function that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robustsnn.lazy import later
from robustsnn.recipes.recipe import Recipe
from robustsnn.recipes.sections import Training


@dataclass(frozen=True)
class Stage:
    """What the command line, a run, its plan and its report know of a stage.

    Arguments:
        name: as ``--until`` takes it, and as the metrics and curves of a training bear it.
        do: called with a `Run`: where a network is made, with the run and with each of its baselines, else with the run alone.
        makes: the checkpoint that it leaves, ``<makes>.safetensors``; empty where it makes no network.
        network: what a table calls that network.
        keys: the parts of a recipe that it depends on besides those of the stages before it.
        words: what it does, in a plan.
        wanted: whether a recipe has it.
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
    """The stages that make a network; of a recipe, those that it has."""
    return tuple(stage for stage in STAGES.values() if stage.makes and (recipe is None or stage.wanted(recipe)))


def made_by(network: str) -> Stage:
    """The stage that makes a checkpoint."""
    return next(stage for stage in making() if stage.makes == network)


def shaped_by(network: str) -> tuple[str, ...]:
    """The parts of a recipe that a checkpoint depends on: those of its stage and of all before."""
    before = making()[: making().index(made_by(network)) + 1]
    return tuple(key for stage in before for key in stage.keys)


def needed_by(name: str, recipe: Recipe) -> str:
    """The checkpoint that a stage which makes a network begins with: what the last one before it has made."""
    whole = making(recipe)
    return whole[whole.index(STAGES[name]) - 1].makes
