"""The sections of a recipe: every key with its range and meaning."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from robustsnn.names import BatchNorm, Granularity, Number, Precision, find
from robustsnn.recipes.readers import (
    KnownData,
    KnownModel,
    SpelledActs,
    SpelledObjective,
    SpelledProbe,
    SpelledStop,
    SpelledSurrogate,
    SpelledThreat,
    after_step,
    attack,
    objective,
    protocol,
    stop,
    threat,
)
from robustsnn.settings import Settings

if TYPE_CHECKING:
    import robustsnn.data
    import robustsnn.training
    import robustsnn.types


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Section):
    """Which images, and how they are varied in training."""

    name: KnownData = Field(
        "digits", description="data set: a known name, owner/name on the hub, or a folder or .parquet file"
    )
    limit: int | None = Field(None, ge=2, description="use at most that many training images")
    validation: Number = Field(0.1, gt=0, lt=1, description="share of the training images that chooses the best epoch")
    pad: int = Field(0, ge=0, description="random crop: pixels of zero padding on every side")
    flip: bool = Field(False, description="mirror half of the images")
    resized_crop: bool = Field(False, description="random part of 8 to 100 % of the area, stretched to full size")

    def augment(self, cutout: int, mean: tuple[float, ...]) -> robustsnn.data.Augment:
        """How training images are varied; ``mean`` fills what cutout removes."""
        from robustsnn.data import Augment

        return Augment(self.pad, self.flip, cutout, mean, self.resized_crop)


class Model(Section):
    """The ANN body. Further keys of a TOML file go to the architecture as they are."""

    name: KnownModel = Field("digits", description="architecture")
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

    def architecture(self, data: robustsnn.data.Dataset, seed: int) -> dict[str, Any]:
        """All arguments of `robustsnn.models.create`."""
        shape = {"classes": data.train.classes, "size": data.size, "channels": data.channels}
        return {**shape, "mean": list(data.mean), "std": list(data.std), "seed": seed, **self._flat()}


class Neurons(Section):
    """Dynamics of the neurons; the number of time steps is a key of the recipe itself."""

    kind: str | None = Field(None, description="another kind, such as MultiSpike(levels=4); not given: LIF, of these keys")
    leak: Number = Field(1.0, gt=0, le=1, description="part of the potential kept per time step; 1 is integrate-and-fire")
    reset: Literal["zero", "subtract"] = Field("zero", description="what a spike does to the potential")
    detach_reset: bool = Field(False, description="no gradient through the reset")
    start: Number = Field(0.0, ge=0, lt=1, description="first potential, in units of the threshold")
    train_leak: bool = Field(False, description="train every layer's leak, which begins at 'leak'")
    surrogate: SpelledSurrogate = Field("Triangle(1.0)", description="derivative in training")


class Training(Section):
    """How a network is trained: as published, the ANN."""

    objective: SpelledObjective = Field("Trades(beta=6, eps=2/255, steps=10)", description="the loss")
    epochs: int = Field(200, ge=0, description="passes over the training images; 0 leaves the network as it is")
    batch: int = Field(64, ge=1, description="images per step")
    lr: Number = Field(0.1, gt=0, description="first learning rate; falls to 0 by a cosine")
    momentum: Number = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: Number = Field(5e-4, ge=0, description="of all parameters, thresholds included, or as 'decay' says")
    decay: Literal["all", "weights"] = Field(
        "all", description="what decays: all parameters, or weights of convolutions and linear layers alone"
    )
    average: Number = Field(0.0, ge=0, lt=1, description="decay per step of averaged weights, which are kept; 0: none")
    precision: Precision = Field("float32", description="what layers of weights compute in; validation stays in float32")
    cutout: int = Field(0, ge=0, description="side of a square per image that is filled with the data's mean")
    probe: SpelledProbe | None = Field(
        None, description="attack that chooses the best epoch, empty: clean accuracy; not given: PGD-10"
    )
    probe_threat: SpelledThreat | None = Field(
        None, description="what it may do, such as Linf(8/255); not given: what the objective trains against"
    )
    after_step: SpelledActs = Field((), description="what acts on parameters after every step, such as Retraction(beta=2e-3)")
    stop: SpelledStop = Field("", description="when to end early, such as CatastrophicOverfitting(drop=0.2)")

    def acts(self) -> tuple[robustsnn.training.AfterStep, ...]:
        """What acts on parameters after every step."""
        return tuple(after_step(text) for text in self.after_step)

    def stops(self) -> robustsnn.training.Stop:
        """Whether to end after the epochs so far."""
        return stop(self.stop) if self.stop else lambda history: False

    def value(self) -> robustsnn.types.Objective:
        """The objective that the text spells."""
        value: robustsnn.types.Objective = objective(self.objective)
        return value

    def attack(self) -> robustsnn.types.Attack | None:
        """The attack of validation; None: clean accuracy."""
        from robustsnn.training import probe_of

        if self.probe is None:
            return probe_of(self.value())
        return attack(self.probe) if self.probe else None

    def threat(self) -> robustsnn.types.Threat | None:
        """What the attack of validation may do; None: what the objective trains against."""
        return None if self.probe_threat is None else threat(self.probe_threat)

    def schedule(self) -> robustsnn.training.Schedule:
        """How long and how fast."""
        from robustsnn.training import Schedule

        return Schedule(**{field.name: getattr(self, field.name) for field in fields(Schedule)})


class Pruning(Section):
    """The trained ANN made sparse: the smallest weights are removed, the others trained on as in pre-training."""

    sparsity: Number = Field(0.0, ge=0, lt=1, description="share of all weights that is removed, for good; 0: no pruning")
    epochs: int = Field(20, ge=1, description="passes over the training images")
    lr: Number = Field(0.01, gt=0, description="first learning rate")


class Staircase(Training):
    """The trained ANN with staircases in the place of its ReLUs, trained on: what a spiking network of T steps can compute, at
    the cost of an ANN."""

    epochs: int = Field(0, ge=0, description="passes over the training images; 0: no staircase, the ANN itself is converted")
    lr: Number = Field(0.01, gt=0, description="first learning rate; falls to 0 by a cosine")
    levels: int | None = Field(None, ge=1, description="steps of every staircase; not given: timesteps")
    percentile: Number = Field(99.7, gt=0, le=100, description="of what a layer receives: where its staircase ends")


class Finetuning(Training):
    """How the converted network is trained further, as published: weights and thresholds together."""

    objective: SpelledObjective = Field("RobustFinetuning(eps=2/255, alpha=1/255, beta=2)", description="the loss")
    epochs: int = Field(60, ge=0, description="passes over the training images; 0 leaves the network as it is")
    lr: Number = Field(0.001, gt=0, description="first learning rate; falls to 0 by a cosine")
    weight_decay: Number = Field(1e-3, ge=0, description="of all parameters, thresholds included")
    train_thresholds: bool = Field(True, description="train the thresholds together with the weights")
    threshold_floor: Number = Field(0.03, gt=0, description="thresholds stay at or above it")

    def acts(self) -> tuple[robustsnn.training.AfterStep, ...]:
        from robustsnn.training import LeakRange, ThresholdFloor

        return *super().acts(), ThresholdFloor(self.threshold_floor), LeakRange()


class Conversion(Section):
    """From ANN to SNN."""

    scale: Number = Field(0.3, gt=0, description="factor on the calibrated thresholds")
    percentile: Number = Field(99.7, gt=0, le=100, description="of what a layer receives")
    timesteps: int = Field(100, ge=1, description="time steps of calibration")
    batches: int = Field(11, ge=1, description="calibration batches")
    batch: int = Field(64, ge=1, description="images per calibration batch")
    batch_norm: BatchNorm = Field("reestimate", description="running statistics: found anew, (0, 1) as published, or kept")
    granularity: Granularity = Field("layer", description="one threshold per layer or per channel")
    threshold: Number | None = Field(
        None, gt=0, description="the same everywhere, scale plays no part; not given: calibrated ones"
    )
    max_pool: bool = Field(False, description="admit max-pooling")


class Evaluation(Settings):
    """What is measured at the end."""

    transfer: tuple[str, ...] = Field((), description="checkpoints whose adversarial examples are tried too, where asked for")

    @field_validator("protocol")
    @classmethod
    def _there(cls, name: str) -> str:
        protocol(name)
        return name

    @model_validator(mode="after")
    def _check(self) -> Evaluation:
        for name in self.attacks:
            find(f"attack of protocol {self.protocol!r}:", protocol(self.protocol).ensembles, name)
        return self
