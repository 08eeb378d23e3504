"""Labelled samples in memory, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustsnn.files import digest
from robustsnn.seeds import generator


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples: images ``[N,C,H,W]``, videos ``[N,T,C,H,W]``, or any other rank from 2 to 5.

    Arguments:
        values: ``[N, ...]``, uint8 (read as value / 255) or float32 in ``[0, 1]``; if ``counts``, uint8 (read as they are) or
            float32 without fractions.
        labels: ``[N]`` of any integer type, stored as int64, each in ``0 .. classes - 1``.
        classes: number of classes.
        ids: int64 ``[N]``, permanent ids of the samples, from which random starts are seeded; by default their positions.
        counts: whether the values are numbers of events, as of an event camera.

    Raises:
        ValueError: a shape, type, value or label is invalid.
    """

    values: Tensor
    labels: Tensor
    classes: int
    ids: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    counts: bool = False

    def __post_init__(self) -> None:
        shapes = f"{list(self.values.shape)} with {list(self.labels.shape)}"
        if not 2 <= self.values.dim() <= 5:
            raise ValueError(f"values must be [N, ...] of rank 2 to 5, images [N,C,H,W] with labels [N], not {shapes}")
        if self.labels.shape != self.values.shape[:1]:
            raise ValueError(f"values [N, ...] need labels [N], not {shapes}")
        if self.labels.is_floating_point() or self.labels.is_complex():
            raise ValueError(
                f"labels must be integers, not {self.labels.dtype}: number the classes from 0, and use labels.long()"
            )
        object.__setattr__(self, "labels", self.labels.long())
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise ValueError(
                f"labels must be 0 .. {self.classes - 1}, but range over {int(self.labels.min())} .. {int(self.labels.max())}"
            )
        if not len(self.ids):
            object.__setattr__(self, "ids", torch.arange(len(self.labels), device=self.labels.device))
        if self.ids.shape != self.labels.shape or self.ids.dtype != torch.int64:
            raise ValueError(f"ids must be int64 {list(self.labels.shape)}, not {self.ids.dtype} {list(self.ids.shape)}")
        if self.values.dtype == torch.uint8:
            return
        if self.values.dtype != torch.float32:
            raise ValueError(f"values must be uint8 (0 .. 255) or float32 in [0, 1], not {self.values.dtype}: convert them")
        if not self.values.isfinite().all():
            raise ValueError("values hold NaN or infinity: clean the samples first")
        if self.counts:
            if self.values.numel() and (float(self.values.min()) < 0 or not self.values.equal(self.values.round())):
                raise ValueError("numbers of events must be whole and at least 0: use counts=False for other values")
            return
        if self.values.numel() and not 0 <= float(self.values.min()) <= float(self.values.max()) <= 1:
            raise ValueError(
                f"values must be in [0, 1], but range over {float(self.values.min()):.4g} .. {float(self.values.max()):.4g}: "
                "scale them to [0, 1] (8-bit images: divide by 255), and leave "
                "normalisation to the network (models.Normalize as its first layer), not to the data; for numbers of events "
                "use Samples(..., counts=True)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        """Return the shapes instead of all values."""
        kind = "counts" if self.counts else str(self.values.dtype).removeprefix("torch.")
        return f"Samples({len(self)} of {list(self.values.shape[1:])}, {kind}, {self.classes} classes)"

    def digest(self, *, ids: bool = False) -> str:
        """Return a digest of the samples, by which runs and reports identify them; ``ids`` includes the ids."""
        named = ({"ids": self.ids} if ids else {}) | ({"counts": torch.ones(1)} if self.counts else {})
        return digest({"pixels": self.values, "labels": self.labels, **named})

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return values as float32, in ``[0, 1]`` unless they are ``counts``, and labels of the samples ``index``."""
        values = self.values[index]
        return (values if self.values.is_floating_point() else values.float() / (1 if self.counts else 255)), self.labels[
            index
        ]

    def take(self, index: Tensor) -> Samples:
        """Return the samples ``index``."""
        return replace(self, values=self.values[index], labels=self.labels[index], ids=self.ids[index])

    def to(self, device: torch.device | str) -> Samples:
        """Return the samples on a device."""
        return replace(self, values=self.values.to(device), labels=self.labels.to(device), ids=self.ids.to(device))

    def near(self, device: torch.device) -> Samples:
        """Return the samples on a GPU if they need less than a quarter of its free memory, otherwise unmoved."""
        if device.type == "cuda" and self.values.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
            return self
        return self.to(device)

    def first(self, count: int | None) -> Samples:
        """Return the first ``count`` samples (None: all)."""
        return self if count is None else self.take(torch.arange(min(count, len(self))))

    def batches(self, size: int, rng: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield batches ``(values, labels, ids)`` in order, or shuffled by ``rng``; the last one may be smaller. In shuffled
        batches, a single remaining sample joins the previous batch, since batch norm cannot train on one sample."""
        order = torch.arange(len(self)) if rng is None else torch.randperm(len(self), generator=rng)
        parts = list(order.split(size))
        if rng is not None and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        for index in parts:
            index = index.to(self.labels.device)
            yield *self.batch(index), self.ids[index]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: training and test samples, and the mean and standard deviation per channel for normalisation.

    Arguments:
        note: what reports must say about the data, such as that they are simulated.
    """

    name: str
    train: Samples
    test: Samples
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str = ""

    @property
    def channels(self) -> int:
        """Number of channels of an image or frame."""
        return self.train.values.shape[2 if self.timesteps else 1]

    @property
    def timesteps(self) -> int | None:
        """Number of frames T of a sample ``[T,C,H,W]``; None for images."""
        return self.train.values.shape[1] if self.train.values.dim() == 5 else None

    @property
    def size(self) -> int:
        """Width of an image in pixels; this package's networks take square images."""
        return self.train.values.shape[-1]

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """Keep the first ``train`` training and ``test`` test samples (None: all)."""
        return replace(self, train=self.train.first(train), test=self.test.first(test))


def statistics(samples: Samples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of the first 5,000 samples ``[N,C,H,W]`` or ``[N,T,C,H,W]``."""
    values, _ = samples.batch(torch.arange(min(5000, len(samples))))
    others = [axis for axis in range(values.dim()) if axis != values.dim() - 3]
    mean, std = values.mean(others).tolist(), values.std(others).tolist()
    return tuple(round(value, 4) for value in mean), tuple(round(value, 4) or 1.0 for value in std)


def split(samples: Samples, held_out: float, seed: int) -> tuple[Samples, Samples]:
    """Split samples at random into (the rest, a stratified fraction ``held_out``).

    Raises:
        ValueError: ``held_out`` is outside (0, 1), or a part would be empty.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"the fraction of held-out samples must be between 0 and 1, not {held_out}")
    order = torch.randperm(len(samples), generator=generator(seed, "split"))
    chosen = torch.zeros(len(samples), dtype=torch.bool)
    labels = samples.labels.cpu()
    for label in labels.unique():
        members = order[labels[order] == label]
        chosen[members[: round(held_out * len(members))]] = True
    rest, held = order[~chosen[order]], order[chosen[order]]
    if not len(rest) or not len(held):
        raise ValueError(f"holding out {held_out} of {len(samples)} samples leaves a part empty: use more samples")
    return samples.take(rest), samples.take(held)
