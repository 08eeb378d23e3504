"""Recipes and the stages that carry them out."""

from robustsnn.recipes.pipeline import Listener, Run, run_all
from robustsnn.recipes.recipe import Recipe, load_recipe, packaged

__all__ = ["Listener", "Recipe", "Run", "load_recipe", "packaged", "run_all"]
