"""The sections of a recipe, with the range and meaning of every key."""

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
    """The data set and its augmentation in training."""

    name: KnownData = Field(
        "digits", description="data set: a known name, owner/name on the hub, or a folder or .parquet file"
    )
    limit: int | None = Field(None, ge=2, description="maximum number of training images")
    validation: Number = Field(0.1, gt=0, lt=1, description="fraction of the training images held out to choose the epoch")
    pad: int = Field(0, ge=0, description="random crop: pixels of zero padding on every side")
    flip: bool = Field(False, description="mirror half of the images horizontally")
    resized_crop: bool = Field(False, description="random crop of 8 to 100 % of the area, resized to full size")

    def augment(self, cutout: int, mean: tuple[float, ...]) -> robustsnn.data.Augment:
        """Return the augmentation; ``mean`` fills the squares of cutout."""
        from robustsnn.data import Augment

        return Augment(self.pad, self.flip, cutout, mean, self.resized_crop)


class Model(Section):
    """The ANN. Further keys in a TOML file are passed to the architecture."""

    name: KnownModel = Field("digits", description="architecture")
    width: Number = Field(1.0, gt=0, description="factor on all layer widths")
    options: Annotated[dict[str, Any], tyro.conf.Suppress] = Field({}, description="further arguments of the architecture")

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
        """Return all arguments of `robustsnn.models.create`."""
        shape = {"classes": data.train.classes, "size": data.size, "channels": data.channels}
        shape |= {"frames": True} if data.timesteps else {}
        return {**shape, "mean": list(data.mean), "std": list(data.std), "seed": seed, **self._flat()}


class Neurons(Section):
    """Dynamics of the neurons; the number of time steps is the recipe's key 'timesteps'."""

    kind: str | None = Field(None, description="other neurons, such as MultiSpike(levels=4); if not given, LIF as below")
    leak: Number = Field(1.0, gt=0, le=1, description="fraction of the potential kept per time step; 1: integrate-and-fire")
    reset: Literal["zero", "subtract"] = Field("zero", description="reset after a spike: to zero, or by subtraction")
    detach_reset: bool = Field(False, description="no gradient through the reset")
    start: Number = Field(0.0, ge=0, lt=1, description="initial potential, in units of the threshold")
    train_leak: bool = Field(False, description="train every layer's leak, starting at 'leak'")
    surrogate: SpelledSurrogate = Field("Triangle(1.0)", description="surrogate derivative in training")
    relative_surrogate: bool = Field(False, description="give the surrogate's width in units of each layer's threshold")


class Training(Section):
    """Training of a network. The defaults are the published ones for the ANN."""

    objective: SpelledObjective = Field("Trades(beta=6, eps=2/255, steps=10)", description="the loss")
    epochs: int = Field(200, ge=0, description="passes over the training images; 0: no training")
    batch: int = Field(64, ge=1, description="images per step")
    lr: Number = Field(0.1, gt=0, description="initial learning rate, with cosine decay to 0")
    momentum: Number = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: Number = Field(5e-4, ge=0, description="weight decay of the parameters that 'decay' selects")
    decay: Literal["all", "weights"] = Field(
        "all", description="weight decay of all parameters, or only of weights of convolutions and linear layers"
    )
    average: Number = Field(0.0, ge=0, lt=1, description="keep an exponential average of weights with this decay; 0: off")
    precision: Precision = Field("float32", description="precision of weight layers; validation uses float32")
    cutout: int = Field(0, ge=0, description="side of one square per image that is filled with the data's mean")
    probe: SpelledProbe | None = Field(
        None, description="attack that chooses the epoch; empty: clean accuracy; if not given, PGD-10 for robust objectives"
    )
    probe_threat: SpelledThreat | None = Field(
        None, description="threat of the probe, such as Linf(8/255); if not given, the objective's"
    )
    after_step: SpelledActs = Field((), description="parameter updates after every step, such as Retraction(beta=2e-3)")
    stop: SpelledStop = Field("", description="early stopping, such as CatastrophicOverfitting(drop=0.2)")

    def acts(self) -> tuple[robustsnn.training.AfterStep, ...]:
        """Return the parameter updates after every step."""
        return tuple(after_step(text) for text in self.after_step)

    def stops(self) -> robustsnn.training.Stop:
        """Return the function that decides, from the epochs so far, whether to stop early."""
        return stop(self.stop) if self.stop else lambda history: False

    def value(self) -> robustsnn.types.Objective:
        """Return the objective."""
        value: robustsnn.types.Objective = objective(self.objective)
        return value

    def attack(self) -> robustsnn.types.Attack | None:
        """Return the attack of validation; None: clean accuracy."""
        from robustsnn.training import probe_of

        if self.probe is None:
            return probe_of(self.value())
        return attack(self.probe) if self.probe else None

    def threat(self) -> robustsnn.types.Threat | None:
        """Return the threat of validation; None: the objective's."""
        return None if self.probe_threat is None else threat(self.probe_threat)

    def schedule(self) -> robustsnn.training.Schedule:
        """Return the training schedule."""
        from robustsnn.training import Schedule

        return Schedule(**{field.name: getattr(self, field.name) for field in fields(Schedule)})


class Pruning(Section):
    """Pruning of the trained ANN: the smallest weights are removed, the others are trained further as in pre-training."""

    sparsity: Number = Field(0.0, ge=0, lt=1, description="fraction of all weights to remove permanently; 0: no pruning")
    epochs: int = Field(20, ge=1, description="passes over the training images")
    lr: Number = Field(0.01, gt=0, description="initial learning rate")


class Staircase(Training):
    """Further training of the ANN with staircases instead of ReLUs: the function of a spiking network with T steps, at the
    cost of an ANN."""

    epochs: int = Field(0, ge=0, description="passes over the training images; 0: no staircase stage")
    lr: Number = Field(0.01, gt=0, description="initial learning rate, with cosine decay to 0")
    levels: int | None = Field(None, ge=1, description="steps of every staircase; if not given, timesteps")
    percentile: Number = Field(99.7, gt=0, le=100, description="percentile of a layer's inputs at which its staircase ends")


class Finetuning(Training):
    """Finetuning of weights and thresholds of the converted network. The defaults are the published ones."""

    objective: SpelledObjective = Field("RobustFinetuning(eps=2/255, alpha=1/255, beta=2)", description="the loss")
    epochs: int = Field(60, ge=0, description="passes over the training images; 0: no finetuning")
    lr: Number = Field(0.001, gt=0, description="initial learning rate, with cosine decay to 0")
    weight_decay: Number = Field(1e-3, ge=0, description="weight decay of all parameters, including thresholds")
    train_thresholds: bool = Field(True, description="train thresholds together with weights")
    threshold_floor: Number = Field(0.03, gt=0, description="lower bound of trained thresholds")

    def acts(self) -> tuple[robustsnn.training.AfterStep, ...]:
        from robustsnn.training import LeakRange, ThresholdFloor

        return *super().acts(), ThresholdFloor(self.threshold_floor), LeakRange()


class Conversion(Section):
    """Conversion of the ANN to an SNN."""

    scale: Number = Field(0.3, gt=0, description="factor on the calibrated thresholds")
    percentile: Number = Field(99.7, gt=0, le=100, description="percentile of a layer's inputs that becomes its threshold")
    timesteps: int = Field(100, ge=1, description="time steps of calibration on images")
    batches: int = Field(11, ge=1, description="calibration batches")
    batch: int = Field(64, ge=1, description="images per calibration batch")
    batch_norm: BatchNorm = Field("reestimate", description="running statistics: re-estimate, reset as published, or keep")
    granularity: Granularity = Field("layer", description="one threshold per layer or per channel")
    threshold: Number | None = Field(
        None, gt=0, description="the same threshold for all layers, without scale; if not given, calibrated"
    )
    max_pool: bool = Field(False, description="allow max-pooling")


class Evaluation(Settings):
    """Evaluation of all networks."""

    transfer: tuple[str, ...] = Field((), description="checkpoints to transfer examples from, if the protocol uses transfer")

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
