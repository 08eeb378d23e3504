"""A short description of what a recipe's run will do."""

from __future__ import annotations

from robustsnn.recipes.readers import protocol
from robustsnn.recipes.recipe import Recipe
from robustsnn.recipes.stages import making


def plan(recipe: Recipe, label: str = "robust") -> list[str]:
    """Return lines that describe the data, the networks of the run ``label`` and of its baselines, and the evaluation."""
    everyone = {label: recipe, **{name: recipe.baseline(name) for name in recipe.compared}}
    return [
        f"{recipe.name}: {recipe.data.name}{_at_most(recipe.data.limit)}, seed {recipe.seed}",
        *(f"{name}: {'; '.join(stage.words(each) for stage in making(each))}" for name, each in everyone.items()),
        f"measured: {_measuring(recipe)}",
    ]


def _measuring(recipe: Recipe) -> str:
    settings = recipe.evaluation
    attacks = ", ".join(settings.attacks or protocol(settings.protocol).ensembles)
    radii = ", ".join(threat.spelled for threat in settings.threats)
    radii = f"eps {radii}" if settings.threats[0].axis[1].startswith("ε") else radii
    return f"{settings.protocol} ({attacks}), {radii}{_at_most(settings.limit)}"


def _at_most(limit: int | None) -> str:
    return f", at most {limit} samples" if limit else ""
