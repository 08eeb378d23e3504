"""A run: a recipe with its folder, data and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustsnn import checkpoint, models
from robustsnn.conversion import climbing, spiking
from robustsnn.data import Dataset, Samples, answers, load_dataset, split
from robustsnn.files import remove_leftovers, write_atomic
from robustsnn.processes import Team
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.listener import Listener
from robustsnn.recipes.loggers import NONE
from robustsnn.recipes.recipe import Recipe, load_recipe, merged
from robustsnn.recipes.stages import made_by, making, shaped_by
from robustsnn.reporting import different
from robustsnn.spiking import Constant, Frames, Signal
from robustsnn.training.training_state import remove_states


@dataclass(frozen=True)
class Run:
    """A recipe with the folder in which it runs."""

    recipe: Recipe
    out: Path
    listener: Listener = Listener()
    label: str = "robust"
    engine: Engine = Engine()
    team: Team = Team()
    logger: str = NONE

    @cached_property
    def everyone(self) -> tuple[Run, ...]:
        """This run, then its baselines, each in its own subfolder."""
        others = self.recipe.compared
        return self, *(replace(self, recipe=self.recipe.baseline(n), out=self.out / n, label=n) for n in others)

    def path(self, name: str) -> Path:
        """Return the path of the checkpoint that a stage ``makes``."""
        return self.out / f"{name}.safetensors"

    @cached_property
    def data(self) -> Dataset:
        """The data set, limited as the recipe says. Raises ValueError if it has another number of time steps."""
        found, steps = load_dataset(self.recipe.data.name), self.recipe.timesteps
        if found.timesteps not in (None, steps):
            name = self.recipe.data.name
            raise ValueError(f"data set {name!r} has {found.timesteps} frames per sample: set timesteps to it, not to {steps}")
        return found.limited(self.recipe.data.limit, self.recipe.evaluation.limit)

    @property
    def signal(self) -> Signal:
        """How a sample becomes time steps."""
        return Frames() if self.data.timesteps else Constant()

    @cached_property
    def images(self) -> str:
        """A digest of the training images, stored in checkpoints."""
        return self.data.train.digest()[:16]

    def parts(self) -> tuple[Samples, Samples]:
        """Return training and validation images."""
        return split(self.data.train, self.recipe.data.validation, self.recipe.seed)

    def header(self, name: str) -> dict[str, Any]:
        """Return the recipe for the header of the checkpoint ``name``, with the complete architecture."""
        model = self.recipe.architecture(self.data)
        if name == "staircase" and not self.recipe.ann:
            model["activation"] = f"QCFS(levels={self.recipe.levels})"
        return self.recipe.table() | {"model": model}

    def body(self) -> nn.Module:
        """Build the untrained ANN.

        Raises:
            ValueError: it cannot be built.
        """
        return (models.outside if self.recipe.ann else models.create)(**self.recipe.architecture(self.data))

    def start(self) -> nn.Module:
        """Build the initial ANN, untrained or with the weights that the recipe names.

        Raises:
            ValueError: it cannot be built, does not accept the images, cannot be converted, or the weights do not fit.
        """
        net, few, classes = self.body(), self.data.test.first(2), self.data.train.classes
        x, _ = few.batch(torch.arange(len(few)))
        if self.recipe.weights:
            checkpoint.import_published(net, checkpoint.read_weights(self.recipe.weights))
        where = f"{self.recipe.ann or self.recipe.model.name!r} on images {list(x.shape)} of {self.recipe.data.name}"
        try:
            found = answers(net, few)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if found.shape[1] != classes:
            raise ValueError(f"{where}: returns {list(found.shape)}, not logits [{len(x)}, {classes}], one per class")
        spiking(net, x, allow={"max_pool"} if self.recipe.conversion.max_pool else (), signal=self.signal)
        return net

    def finished(self, name: str) -> bool:
        """Return whether a checkpoint exists.

        Raises:
            ValueError: it exists, but was made by another recipe, or with other images of the same name.
        """
        path = self.path(name)
        if not path.exists():
            return False
        header, anew = checkpoint.read_header(path), "choose another --out, or remove that file to make it again"
        wanted = self.header(name)
        defaults = {key: value for key, value in Recipe(name="defaults").table().items() if key != "model"}
        found = merged(defaults, header.recipe)  # older versions lack keys, and behaved like their defaults
        if wanted.get("data") == found.get("data") and header.metrics.get("images", self.images) != self.images:
            raise ValueError(f"{path} was made with other training images than {self.recipe.data.name!r} contains now: {anew}")
        theirs, ours = ({key: recipe[key] for key in shaped_by(name) if key in recipe} for recipe in (found, wanted))
        if keys := different(theirs, ours):
            raise ValueError(f"{path} was made by a recipe with another {' and '.join(keys)}: {anew}")
        return True

    def unbegun(self, name: str) -> None:
        """Raise ValueError if training of that network by another recipe has started in this folder."""
        kept = self.out / "recipe.toml"
        if not kept.is_file() or not any(self.out.glob(f"{name}.state*")):
            return
        tables = (load_recipe(str(kept)).table(), self.recipe.table())
        theirs, ours = ({key: table[key] for key in shaped_by(name) if key in table} for table in tables)
        if keys := different(theirs, ours):
            state = self.path(name).with_suffix(".state")
            raise ValueError(
                f"{state} is of a training with another {' and '.join(keys)}: choose another --out, or remove that file to "
                "train again"
            )

    def open(self, name: str) -> nn.Module:
        """Load the network of an earlier stage to this process's device.

        Raises:
            ValueError: that stage has not been run.
        """
        self.require(name)
        return self.load(name)

    def load(self, name: str) -> nn.Module:
        """Load a checkpoint to this process's device, without checking its recipe."""
        body = self.body() if self.recipe.ann else None
        if body is not None and name == "staircase":
            body = climbing(body, self.recipe.levels)
        return checkpoint.load(self.path(name), body).to(self.team.device)

    def network(self, name: str) -> nn.Module:
        """Load a network that an objective names: a checkpoint of this run, such as ``"ann"``, or a file.

        Raises:
            ValueError: the checkpoint does not exist.
        """
        if name in [stage.makes for stage in making()]:
            return self.open(name)
        return checkpoint.load(name).to(self.team.device)

    def save(self, name: str, net: nn.Module, metrics: Mapping[str, Any] | None = None) -> None:
        """Remove evaluation state of the previous network, save a stage's network, then remove its training state."""
        for found in self.out.glob(f"{name}.*.evaluation*") if self.team.first else ():
            found.unlink(missing_ok=True)
        told = {"images": self.images, "shape": list(self.data.train.values.shape[1:]), **(metrics or {})}
        self.alone(lambda: checkpoint.save(self.path(name), net, self.header(name), told))
        self.alone(lambda: remove_states(self.path(name).with_suffix(".state")))

    def begin(self) -> None:
        """Create the folder with its recipe, and remove leftovers of killed stages."""
        remove_leftovers(self.out)
        for path in filter(Path.exists, (self.path(stage.makes) for stage in making())):
            remove_states(path.with_suffix(".state"))
        write_atomic(self.out / "recipe.toml", self.recipe.toml())

    def alone(self, write: Callable[[], object]) -> None:
        """Let only the first process write; the others wait for it."""
        if self.team.first:
            write()
        self.team.wait()

    def require(self, name: str) -> None:
        """Raise ValueError if the stage that makes a checkpoint has not been run."""
        if not self.finished(name):
            raise ValueError(
                f"{self.path(name)} does not exist yet: run the stage {made_by(name).name!r} with the same --out first"
            )
