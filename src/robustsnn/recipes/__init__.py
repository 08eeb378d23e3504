"""Recipes and the stages that carry them out."""

from robustsnn.recipes.pipeline import run_all
from robustsnn.recipes.plan import plan
from robustsnn.recipes.recipe import Recipe, load_recipe, packaged
from robustsnn.recipes.run import Listener, Run

__all__ = ["Listener", "Recipe", "Run", "load_recipe", "packaged", "plan", "run_all"]
