"""Recipes and the stages that run them. The modules that compute are imported only when needed."""

from robustsnn.recipes.listener import Listener
from robustsnn.recipes.pipeline import run, run_all
from robustsnn.recipes.planning import plan
from robustsnn.recipes.recipe import Recipe, load_recipe, packaged
from robustsnn.recipes.stages import STAGES, Stage

__all__ = ["STAGES", "Listener", "Recipe", "Stage", "load_recipe", "packaged", "plan", "run", "run_all"]
