"""Recipes and the stages that carry them out. What computes is in `robustsnn.recipes.working`, imported when it is needed."""

from robustsnn.recipes.listener import Listener
from robustsnn.recipes.pipeline import run, run_all
from robustsnn.recipes.planning import plan
from robustsnn.recipes.recipe import Recipe, load_recipe, packaged
from robustsnn.recipes.stages import STAGES, Stage

__all__ = ["STAGES", "Listener", "Recipe", "Stage", "load_recipe", "packaged", "plan", "run", "run_all"]
