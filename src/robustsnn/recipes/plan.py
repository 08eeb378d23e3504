"""A recipe in a few lines of words: what a run will do, before it does it."""

from __future__ import annotations

from collections.abc import Iterator

from robustsnn.evaluation import protocol
from robustsnn.recipes.recipe import Recipe
from robustsnn.recipes.sections import Training
from robustsnn.threats import kind


def plan(recipe: Recipe, label: str = "robust") -> list[str]:
    """Lines: the images, the networks of the run ``label`` and of those it is compared with, and how they are measured."""
    everyone = {label: recipe, **{name: recipe.baseline(name) for name in recipe.compared}}
    return [
        f"{recipe.name}: {recipe.data.name}{_at_most(recipe.data.limit)}, seed {recipe.seed}",
        *(f"{name}: {'; '.join(_stages(each))}" for name, each in everyone.items()),
        f"measured: {_measuring(recipe)}",
    ]


def _stages(recipe: Recipe) -> Iterator[str]:
    """What is done to the network of one run, stage by stage."""
    conversion, ann = recipe.conversion, f"ANN {recipe.ann or recipe.model.name}"
    if recipe.weights:
        yield f"{ann}, weights of {recipe.weights}"
    elif recipe.untrained:
        yield f"{ann}, random weights"
    else:
        yield f"{ann} by {_training(recipe.pretrain)}"
    if recipe.prune.sparsity:
        yield f"{recipe.prune.sparsity:.3g} of the weights removed, {_epochs(recipe.prune.epochs)}"
    if recipe.staircase.epochs:
        yield f"in {recipe.levels} levels by {_training(recipe.staircase)}"
    found = f"{conversion.scale:g} x calibrated" if conversion.threshold is None else f"{conversion.threshold:g}"
    yield f"SNN, T = {recipe.timesteps}, thresholds {found}"
    yield f"finetuned by {_training(recipe.finetune)}" if recipe.finetune.epochs else "not finetuned"


def _training(how: Training) -> str:
    return f"{how.objective}, {_epochs(how.epochs)}{''.join(f', {act}' for act in how.after_step)}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


def _measuring(recipe: Recipe) -> str:
    settings = recipe.evaluation
    attacks = ", ".join(settings.attacks or protocol(settings.protocol).ensembles)
    radii = ", ".join(kind(settings.threat)(eps).spelled for eps in settings.eps)
    return f"{settings.protocol} ({attacks}), eps {radii}{_at_most(settings.limit)}"


def _at_most(limit: int | None) -> str:
    return f", at most {limit} images" if limit else ""
