"""A recipe: one validated value that describes a complete run. Packaged recipes are the TOML files in this folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
import tyro
from pydantic import BaseModel, Field, ValidationError, model_validator

from robustsnn.names import find, is_toml, nearest
from robustsnn.recipes.readers import neuron, surrogate
from robustsnn.recipes.sections import (
    Conversion,
    Data,
    Evaluation,
    Finetuning,
    Model,
    Neurons,
    Pruning,
    Section,
    Staircase,
    Training,
)

if TYPE_CHECKING:
    import robustsnn.data
    import robustsnn.spiking


class Recipe(Section):
    """A complete run: robust ANN, conversion, robust finetuning, evaluation."""

    name: str = Field(..., min_length=1, description="name of the run")
    seed: int = Field(0, ge=0, description="seed of initial weights, data order, augmentation and attacks")
    timesteps: int = Field(8, ge=1, description="time steps T of the spiking network")
    ann: str = Field("", description="your own ANN, package.module:factory, instead of [model]; its code is run")
    weights: str = Field("", description="weights of a trained ANN (.safetensors, .pth), instead of pre-training")
    data: Data = Data()
    model: Model = Model()
    neurons: Neurons = Neurons()
    pretrain: Training = Training()
    prune: Pruning = Pruning()
    staircase: Staircase = Staircase()
    conversion: Conversion = Conversion()
    finetune: Finetuning = Finetuning()
    evaluation: Evaluation = Evaluation()
    baselines: Annotated[dict[str, dict[str, Any]], tyro.conf.Suppress] = Field(
        {}, description="runs to compare with: their changed keys, by name"
    )
    compare: tuple[str, ...] | None = Field(None, description="baselines to run as well; if not given, all of them")

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.neurons.kind:
            self.dynamics()
        for name in self.baselines:
            self.baseline(name)
        for name in self.compare or ():
            find("baseline", self.baselines, name)
        if self.ann and self.model.width != 1:
            raise ValueError("model.width does not apply to your own ANN: remove it, or add an option to its factory")
        if self.prune.sparsity and self.untrained:
            raise ValueError("prune.sparsity needs a trained ANN: set weights or pretrain.epochs, or leave it at 0")
        if self.staircase.epochs:
            self._check_staircase()
        return self

    def _check_staircase(self) -> None:
        conversion, neurons = self.conversion, self.neurons
        if self.untrained or "activation" in self.model.options:
            raise ValueError(
                "staircase.epochs needs a trained ANN with ReLUs: set weights or pretrain.epochs, and no activation"
            )
        kept = conversion.batch_norm == "keep" and conversion.scale == 1 and conversion.threshold is None
        if not kept or (neurons.reset, neurons.start) != ("subtract", 0.5):
            raise ValueError(
                "staircase.epochs needs neurons.reset = 'subtract', neurons.start = 0.5, conversion.batch_norm = 'keep', "
                "conversion.scale = 1 and no conversion.threshold: set these keys"
            )

    @property
    def untrained(self) -> bool:
        """Whether the converted ANN has random weights."""
        return not (self.pretrain.epochs or self.weights)

    @property
    def called(self) -> str:
        """The run's label next to its baselines: ``robust``, or its own name if a stage trains naturally or given weights may
        be natural."""
        from robustsnn.training import Natural

        stages = [stage.value() for stage in (self.pretrain, self.staircase, self.finetune) if stage.epochs]
        if not self.weights and not any(isinstance(objective, Natural) for objective in stages):
            return "robust"
        return self.name if self.name not in self.baselines else "main"

    @property
    def compared(self) -> tuple[str, ...]:
        """The baselines to run as well."""
        return tuple(self.baselines) if self.compare is None else self.compare

    def architecture(self, data: robustsnn.data.Dataset) -> dict[str, Any]:
        """Return all arguments of `robustsnn.models.create`, or of `robustsnn.models.outside` if ``ann`` is set."""
        if self.ann:
            return {"ann": self.ann, "seed": self.seed, **self.model.options}
        return self.model.architecture(data, self.seed)

    @property
    def levels(self) -> int:
        """Number of steps of the staircase activations."""
        return self.staircase.levels or self.timesteps

    def dynamics(self) -> robustsnn.spiking.Dynamics:
        """Return the dynamics of the spiking network."""
        from robustsnn.spiking import LIF, PLIF, Dynamics, Neuron

        n = self.neurons
        made: Neuron = (PLIF if n.train_leak else LIF)(n.leak, n.reset, n.start)
        if n.kind and made != LIF():
            raise ValueError(
                f"neurons: leak, reset, start and train_leak belong to LIF: set them inside kind = {n.kind!r}, or remove kind"
            )
        made = neuron(n.kind) if n.kind else made
        return Dynamics(self.timesteps, made, surrogate(n.surrogate), n.detach_reset, relative_surrogate=n.relative_surrogate)

    def baseline(self, name: str) -> Recipe:
        """Return the recipe of a baseline: this recipe with its changes. A baseline with random weights is not pruned,
        and one with its own ANN skips the staircase stage, unless the changes ask for them."""
        if not name.isidentifier() or name == "robust":
            raise ValueError(f"baseline {name!r}: use letters, digits and '_', and not 'robust', which is the run itself")
        changes = find("baseline", self.baselines, name)
        own = ("baselines", "compare", *(["weights"] if "pretrain" in changes else []))  # weights of another training
        alone = {key: value for key, value in self.table().items() if key not in own}
        flat = merged(alone, {"staircase": {"epochs": 0}}) if "pretrain" in changes or "model" in changes else alone
        dense = from_table(merged(merged(flat, {"prune": {"sparsity": 0}}), changes), f"baseline {name!r}")
        return dense if dense.untrained else from_table(merged(flat, changes), f"baseline {name!r}")

    def table(self) -> dict[str, Any]:
        """Return the recipe as nested tables of plain values, as in TOML and JSON."""
        return self.model_dump(mode="json", exclude_none=True)

    def toml(self) -> bytes:
        """Return the recipe as a TOML file."""
        return tomli_w.dumps(self.table()).encode()


def packaged() -> dict[str, str]:
    """Return the TOML texts of the packaged recipes, by name."""
    folder = files("robustsnn.recipes")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): (folder / name).read_text(encoding="utf-8") for name in found}


def load_recipe(name: str) -> Recipe:
    """Load a packaged recipe by name, or a TOML file by path; ``NAME:BASELINE`` is one of its baselines.

    Raises:
        ValueError: the recipe, baseline or file does not exist, is not valid TOML, or has a wrong key or value.
    """
    whole, colon, baseline = name.rpartition(":")
    if not colon or is_toml(name):
        return from_toml(_text(name), _where(name))
    recipe = load_recipe(whole).baseline(baseline)
    return recipe.model_copy(update={"name": f"{recipe.name}-{baseline}"})


def label(name: str, recipe: Recipe) -> str:
    """Return the label of a run by the name of its recipe: the baseline in ``NAME:BASELINE``, else `Recipe.called`."""
    return (not is_toml(name) and name.partition(":")[2]) or recipe.called


def _text(name: str) -> str:
    if not is_toml(name):
        return find("recipe", packaged(), name)
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read recipe {name}: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not a TOML recipe: it must be a UTF-8 text file") from None


def _where(name: str) -> str:
    return name if is_toml(name) else f"recipe {name!r}"


def from_toml(text: str, where: str) -> Recipe:
    """Parse a recipe from TOML; ``where`` names its source in errors."""
    return from_table(_extended(text, where, ()), where)


def _extended(text: str, where: str, above: tuple[str, ...]) -> dict[str, Any]:
    """Return the table of a TOML text, merged into that of the recipe that it ``extends``."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is not valid TOML: {error}") from None
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str) or base in above:
        raise ValueError(f"{where}: extends = {base!r} must name another recipe, and not one that extends this one")
    below, evaluation = _extended(_text(base), _where(base), (*above, base)), table.get("evaluation")
    if isinstance(evaluation, dict):
        for key, depending in (("protocol", "attacks"), ("threat", "eps")):
            if key in evaluation:
                below.get("evaluation", {}).pop(depending, None)  # they belong to another protocol, or threat
    return merged(below, table)


def from_table(table: Mapping[str, Any], where: str) -> Recipe:
    """Validate nested tables as a recipe.

    Raises:
        ValueError: a key (the message suggests the nearest known one) or a value is wrong.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Return pydantic's first error about a recipe as one line with the key and the remedy."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        said, value = first["msg"].removeprefix("Value error, "), first["input"]
        of_list = isinstance(value, list | tuple) and len(value) == 1
        short = str(value[0] if of_list else value)[:60]
        given = "" if isinstance(value, dict) or short in said else f" (given: {short!r})"
        return f"{'.'.join(path) or 'recipe'}: {said}{given}"
    section: type[BaseModel] = Recipe
    for part in path[:-1]:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return f"unknown key {'.'.join(path)!r}: {nearest(path[-1], section.model_fields)}"


def merged(table: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with some keys changed; nested tables are merged key by key."""
    return table | {
        key: merged(table[key], value) if isinstance(value, dict) and isinstance(table.get(key), dict) else value
        for key, value in changes.items()
    }
