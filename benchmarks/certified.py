"""The networks that are certified, and the figures that are kept of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from robustsnn import cli, load
from robustsnn.certification import Intervals, Method, Smoothing, SparseSmoothing
from robustsnn.certification.registry import Certified
from robustsnn.files import write_atomic
from robustsnn.threats import L2, Flips, Linf

KEPT = Path(__file__).parent / "certificates"
RUNS = Path("runs")
BALLS = (Linf(0.05), Linf(0.1))
SMOOTHED = (Linf(0.05), L2(0.5))


@dataclass(frozen=True)
class Network:
    """A network of the page.

    Arguments:
        what: in words.
        made: a recipe, or a checkpoint of the zoo.
        sigma: of its smoothing; 0: none.
    """

    what: str
    made: str
    sigma: float = 0.25

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods to compute: both kinds of intervals, and smoothing."""
        return Intervals(BALLS), Intervals(BALLS, rule="steps"), *((Smoothing(self.sigma),) if self.sigma else ())

    def net(self) -> nn.Module:
        """The network. It is trained first if there is no checkpoint yet."""
        if ":" in self.made:
            return load(self.made)
        checkpoint = RUNS / self.made / "snn.safetensors"
        if not checkpoint.is_file():
            assert cli.main(["run", self.made, "--out", str(checkpoint.parent), "--until", "finetune", "--quiet"]) == 0
        return load(checkpoint)


NETWORKS = {
    "certified": Network("trained for intervals (recipe `digits-certified`)", "digits-certified"),
    "smoothed": Network("trained for smoothing (recipe `digits-smoothed`)", "digits-smoothed"),
    "robust": Network("trained on adversarial images (`zoo:digits-robust`)", "zoo:digits-robust", sigma=0.0),
}


@dataclass(frozen=True)
class Other:
    """A network on other data, which is only smoothed.

    Arguments:
        what: in words.
        data: its data set.
        smoothing: the method.
        images: how many of the first test samples to certify.
        made: a checkpoint of the zoo; empty: trained by ``recipe`` with the flags ``changed``.
        batch: noisy copies per pass.
        attacked: how many of these samples to attack by the protocol `events`, under ``FLIPS``.
    """

    what: str
    data: str
    smoothing: Smoothing | SparseSmoothing
    images: int
    made: str = ""
    recipe: str = ""
    changed: tuple[str, ...] = ()
    batch: int = 50
    attacked: int = 0

    def net(self) -> nn.Module:
        """The network. It is trained first if there is no checkpoint yet."""
        if self.made:
            return load(self.made)
        checkpoint = RUNS / f"{self.recipe}-smoothed" / "snn.safetensors"
        if not checkpoint.is_file():
            asked = ["run", self.recipe, *self.changed, "--out", str(checkpoint.parent), "--until", "finetune", "--quiet"]
            assert cli.main([*asked, "--compare"]) == 0
        return load(checkpoint)


FLIPPED = "FlippedEvents(plus=0.05, minus=0.5)"
TRAINED = ("--pretrain.epochs", "0", "--conversion.threshold", "1.0", "--finetune.objective", FLIPPED, "--finetune.probe", "")
EVENTS = SparseSmoothing(0.05, 0.5, draws=2000)
FLIPS = Flips(2)
CHUNK = 25
"""Samples that are certified together, and kept."""
OTHERS = {
    "events": Other(
        "simulated events of digits (recipe `digits-events`, trained with the noise)",
        "digits-events",
        EVENTS,
        25,
        recipe="digits-events",
        changed=(*TRAINED, "--finetune.epochs", "10", "--finetune.lr", "0.05"),
        attacked=10,
    ),
    "nmnist": Other(
        "a subset of N-MNIST with 1,100 recordings (recipe `nmnist`, trained with the noise)",
        "nmnist",
        SparseSmoothing(0.05, 0.5, draws=1000),
        50,
        recipe="nmnist",
        changed=(*TRAINED, "--finetune.epochs", "15", "--finetune.lr", "0.05"),
    ),
    "cifar10": Other(
        "CIFAR-10 (`zoo:cifar10-robust`, not trained with noise)",
        "cifar10",
        Smoothing(0.15, draws=1000),
        200,
        made="zoo:cifar10-robust",
    ),
}


def kept_of(place: Path, weights: str) -> dict[str, Any]:
    """The figures that a file keeps of a network; none if they are of other weights."""
    known: dict[str, Any] = json.loads(place.read_bytes()) if place.is_file() else {}
    return known if known.get("weights") == weights else {"weights": weights}


def write(place: Path, value: object) -> None:
    """Write a file of results."""
    write_atomic(place, (json.dumps(value) + "\n").encode())


def joined(chunks: Sequence[Mapping[str, Any]]) -> Any:
    """The certificates of all chunks as one value."""
    parts = [TypeAdapter(Certified).validate_python(each) for each in chunks]

    def both(one: Any, other: Any) -> Any:
        values = {name: getattr(one, name) + getattr(other, name) for name in ("labels", "predicted", "lower", "seconds")}
        return one.model_copy(update=values | ({"events": one.events + other.events} if hasattr(one, "events") else {}))

    return reduce(both, parts)


def read(name: str) -> dict[str, Any]:
    """The kept figures of a network."""
    kept: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_bytes())
    return kept


def certificates(kept: Mapping[str, Any]) -> list[Any]:
    """The certificates of a network: by running counts, by single steps, and by smoothing."""
    return [TypeAdapter(Certified).validate_python(each) for each in kept["certificates"]]
