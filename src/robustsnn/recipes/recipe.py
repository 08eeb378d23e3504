"""A recipe: one validated value that describes a whole run. Packaged ones are the TOML files beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
import tyro
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from robustsnn.attacks import ATTACKS
from robustsnn.conversion.convert import BatchNorm
from robustsnn.data import DATASETS, Augment, Dataset
from robustsnn.evaluation import PROTOCOLS
from robustsnn.evaluation.protocols import Rule
from robustsnn.models import MODELS
from robustsnn.names import build, find, nearest, number
from robustsnn.spiking import SURROGATES, Dynamics
from robustsnn.training import OBJECTIVES, Schedule
from robustsnn.types import Attack, Objective

Number = Annotated[
    float,
    BeforeValidator(number),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="NUMBER",
        instance_from_str=lambda args: number(args[0]),
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [f"{value:g}"],
    ),
]
"""A number that may be written as a fraction, such as 8/255."""


def _named(kind: str, table: Mapping[str, Any]) -> Any:
    def check(name: str) -> str:
        find(kind, table, name)
        return name

    return AfterValidator(check)


def _spelled(kind: str, table: Mapping[str, Any]) -> Any:
    def check(text: str) -> str:
        if text:
            build(kind, table, text)
        return text

    return AfterValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(_Section):
    """Which images, and how they are varied in training."""

    name: Annotated[str, _named("data set", DATASETS)] = Field("digits", description="data set")
    limit: int | None = Field(None, ge=2, description="use at most that many training images")
    validation: Number = Field(0.1, gt=0, lt=1, description="share of the training images that chooses the best epoch")
    pad: int = Field(0, ge=0, description="random crop: pixels of zero padding on every side")
    flip: bool = Field(False, description="mirror half of the images")

    def augment(self) -> Augment:
        """How training images are varied."""
        return Augment(self.pad, self.flip)


class Model(_Section):
    """The ANN body. Further keys of a TOML file go to the architecture as they are."""

    name: Annotated[str, _named("model", MODELS)] = Field("digits", description="architecture")
    width: Number = Field(1.0, gt=0, description="factor on all widths")
    options: Annotated[dict[str, Any], tyro.conf.Suppress] = Field({}, description="what else the architecture takes")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "options" in values:
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        return own | {"options": {key: value for key, value in values.items() if key not in own}}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, "width": self.width, **self.options}

    def architecture(self, data: Dataset, seed: int) -> dict[str, Any]:
        """All arguments of `robustsnn.models.create`."""
        shape = {"classes": data.train.classes, "size": data.size, "channels": data.channels}
        return {**shape, "mean": list(data.mean), "std": list(data.std), "seed": seed, **self._flat()}


class Neurons(_Section):
    """Dynamics of the neurons; the number of time steps is a key of the recipe itself."""

    leak: Number = Field(1.0, gt=0, le=1, description="part of the potential kept per time step; 1 is integrate-and-fire")
    reset: Literal["zero", "subtract"] = Field("zero", description="what a spike does to the potential")
    detach_reset: bool = Field(False, description="no gradient through the reset")
    surrogate: Annotated[str, _spelled("surrogate", SURROGATES)] = Field("Triangle(1.0)", description="derivative in training")


class Training(_Section):
    """How a network is trained."""

    objective: Annotated[str, _spelled("objective", OBJECTIVES)] = Field("Natural()", min_length=1, description="the loss")
    epochs: int = Field(200, ge=1, description="passes over the training images")
    batch: int = Field(64, ge=1, description="images per step")
    lr: Number = Field(0.1, gt=0, description="first learning rate; falls to 0 by a cosine")
    momentum: Number = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: Number = Field(5e-4, ge=0, description="of all parameters, thresholds included")
    probe: Annotated[str, _spelled("attack", ATTACKS)] = Field(
        "PGD(eps=2/255, steps=10)", description="attack that chooses the best epoch; empty chooses by clean accuracy"
    )

    def value(self) -> Objective:
        """The objective that the text spells."""
        return build("objective", OBJECTIVES, self.objective)  # type: ignore[no-any-return]

    def attack(self) -> Attack | None:
        """The attack of validation."""
        return build("attack", ATTACKS, self.probe) if self.probe else None

    def schedule(self) -> Schedule:
        """How long and how fast."""
        return Schedule(self.epochs, self.batch, self.lr, self.momentum, self.weight_decay)


class Finetuning(Training):
    """How the converted network is trained further: weights and thresholds together."""

    threshold_floor: Number = Field(0.03, gt=0, description="thresholds stay at or above it")


class Conversion(_Section):
    """From ANN to SNN."""

    scale: Number = Field(0.3, gt=0, description="factor on the calibrated thresholds")
    percentile: Number = Field(99.7, gt=0, le=100, description="of what a layer receives")
    timesteps: int = Field(100, ge=1, description="time steps of calibration")
    batches: int = Field(11, ge=1, description="calibration batches")
    batch: int = Field(64, ge=1, description="images per calibration batch")
    batch_norm: BatchNorm = Field("reestimate", description="running statistics: found anew, or (0, 1) as published")
    max_pool: bool = Field(False, description="admit max-pooling")


class Evaluation(_Section):
    """What is measured at the end."""

    protocol: Annotated[str, _named("protocol", PROTOCOLS)] = Field("paper", description="attacks and gradient paths")
    attacks: tuple[str, ...] = Field((), description="which of the protocol's attacks; none named runs all")
    eps: tuple[Number, ...] = Field((2 / 255, 4 / 255, 8 / 255), min_length=1, description="L-infinity radii")
    rule: Rule | None = Field(None, description="which iterates are judged; not given: the protocol's rule")
    limit: int | None = Field(None, ge=1, description="use at most that many test images")
    batch: int = Field(250, ge=1, description="images attacked together; does not change the result")

    @model_validator(mode="after")
    def _check(self) -> Evaluation:
        for name in self.attacks:
            find(f"attack of protocol {self.protocol!r}:", PROTOCOLS[self.protocol].attacks, name)
        if min(self.eps) < 0:
            raise ValueError(f"eps must be at least 0, not {min(self.eps)}")
        return self


class Recipe(_Section):
    """A whole run: robust ANN, conversion, robust finetuning, evaluation."""

    name: str = Field(..., min_length=1, description="what the run is called")
    seed: int = Field(0, ge=0, description="of initial weights, order, augmentation, attacks")
    timesteps: int = Field(8, ge=1, description="time steps T of the spiking network")
    data: Data = Data()
    model: Model = Model()
    neurons: Neurons = Neurons()
    pretrain: Training = Training()
    conversion: Conversion = Conversion()
    finetune: Finetuning = Finetuning()
    evaluation: Evaluation = Evaluation()
    baselines: Annotated[dict[str, dict[str, Any]], tyro.conf.Suppress] = Field(
        {}, description="runs to compare with: by name, the keys in which they differ"
    )

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        for name in self.baselines:
            self.baseline(name)
        return self

    def dynamics(self) -> Dynamics:
        """Dynamics of the spiking network."""
        n = self.neurons
        surrogate = build("surrogate", SURROGATES, n.surrogate)
        return Dynamics(self.timesteps, n.leak, n.reset, n.detach_reset, surrogate)

    def baseline(self, name: str) -> Recipe:
        """The recipe of a run to compare with: this one, changed in the keys that ``baselines`` names."""
        if not name.isidentifier():
            raise ValueError(f"baseline {name!r}: use letters, digits and '_' only, since it names a folder")
        changes = dict(self.baselines[name])
        return from_table(_merged(self.table() | {"baselines": {}}, changes), f"baseline {name!r}")

    def table(self) -> dict[str, Any]:
        """The recipe as nested tables of plain values, as TOML and JSON hold them."""
        return self.model_dump(mode="json", exclude_none=True)

    def toml(self) -> bytes:
        """The recipe as a TOML file."""
        return tomli_w.dumps(self.table()).encode()


def packaged() -> dict[str, str]:
    """The TOML texts of the packaged recipes, by name."""
    folder = files("robustsnn.recipes")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): (folder / name).read_text(encoding="utf-8") for name in found}


def load_recipe(name: str) -> Recipe:
    """A packaged recipe by name, or one from a TOML file by path.

    Raises:
        ValueError: no such recipe or file, no TOML, or a wrong key or value.
    """
    if not name.endswith(".toml"):
        return from_toml(find("recipe (or give the path of a .toml file)", packaged(), name), f"recipe {name!r}")
    try:
        return from_toml(Path(name).read_text(encoding="utf-8"), name)
    except OSError as error:
        raise ValueError(f"cannot read recipe {name}: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text file in UTF-8, so it is no TOML recipe") from None


def from_toml(text: str, where: str) -> Recipe:
    """A recipe from TOML; ``where`` names its place in errors."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is no valid TOML: {error}") from None
    return from_table(table, where)


def from_table(table: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from nested tables.

    Raises:
        ValueError: a wrong key (with the nearest known one) or value, named by its place.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """The first complaint of pydantic about a recipe, as one line with the key and the remedy."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        given = f" (given: {str(first['input'])[:60]!r})" if not isinstance(first["input"], dict) else ""
        return f"{'.'.join(path) or 'recipe'}: {first['msg'].removeprefix('Value error, ')}{given}"
    section: type[BaseModel] = Recipe
    for part in path[:-1]:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return f"unknown key {'.'.join(path)!r}: {nearest(path[-1], section.model_fields)}"


def _merged(table: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return table | {
        key: _merged(table[key], value) if isinstance(value, dict) and isinstance(table.get(key), dict) else value
        for key, value in changes.items()
    }
