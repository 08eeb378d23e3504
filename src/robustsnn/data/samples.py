"""Images in memory: uint8 tensors with labels, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustsnn.seeds import generator


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled images.

    Arguments:
        pixels: ``[N,C,H,W]``, uint8 (read as value / 255) or float32 in ``[0, 1]``.
        labels: int64 ``[N]``, each in ``0 .. classes - 1``.
        classes: number of classes.
        ids: int64 ``[N]``, what an image is called wherever it goes; its place, if not given. Random starts follow it.

    Raises:
        ValueError: shapes, types, values or labels that are none of this.
    """

    pixels: Tensor
    labels: Tensor
    classes: int
    ids: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        if self.pixels.dim() != 4 or self.labels.shape != self.pixels.shape[:1]:
            raise ValueError(
                f"images must be [N,C,H,W] with labels [N], not {list(self.pixels.shape)} with {list(self.labels.shape)}"
            )
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64, not {self.labels.dtype}: use labels.long()")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise ValueError(
                f"labels must be 0 .. {self.classes - 1}, but range over {int(self.labels.min())} .. {int(self.labels.max())}"
            )
        if not len(self.ids):
            object.__setattr__(self, "ids", torch.arange(len(self.labels), device=self.labels.device))
        if self.ids.shape != self.labels.shape or self.ids.dtype != torch.int64:
            raise ValueError(f"ids must be int64 {list(self.labels.shape)}, not {self.ids.dtype} {list(self.ids.shape)}")
        if self.pixels.dtype == torch.uint8:
            return
        if self.pixels.dtype != torch.float32:
            raise ValueError(f"pixels must be uint8 or float32, not {self.pixels.dtype}")
        if not self.pixels.isfinite().all():
            raise ValueError("pixels hold NaN or infinity: clean the images first")
        if len(self.pixels) and not 0 <= float(self.pixels.min()) <= float(self.pixels.max()) <= 1:
            raise ValueError(
                f"pixels must be in [0, 1], but range over {float(self.pixels.min()):.4g} .. "
                f"{float(self.pixels.max()):.4g}: divide by 255, and leave normalisation to the network"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels as float32 in ``[0, 1]`` and labels of the images ``index``."""
        pixels = self.pixels[index]
        return (pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels), self.labels[index]

    def take(self, index: Tensor) -> Samples:
        """The images ``index``."""
        return replace(self, pixels=self.pixels[index], labels=self.labels[index], ids=self.ids[index])

    def to(self, device: torch.device | str) -> Samples:
        """The same images on a device."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device), ids=self.ids.to(device))

    def near(self, device: torch.device) -> Samples:
        """The same images on a device, if they take less than a quarter of what is free there; else where they are."""
        if device.type == "cuda" and self.pixels.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
            return self
        return self.to(device)

    def first(self, count: int | None) -> Samples:
        """The first ``count`` images (None: all)."""
        return self if count is None else self.take(torch.arange(min(count, len(self))))

    def batches(self, size: int, rng: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches ``(pixels, labels, ids)`` in order, or shuffled by ``rng``; the last one may be smaller."""
        order = torch.arange(len(self)) if rng is None else torch.randperm(len(self), generator=rng)
        for index in order.split(size):
            index = index.to(self.labels.device)
            yield *self.batch(index), self.ids[index]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images of one name, with the statistics networks normalise by."""

    name: str
    train: Samples
    test: Samples
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.pixels.shape[1]

    @property
    def size(self) -> int:
        """Width of an image in pixels; networks of this package take square ones."""
        return self.train.pixels.shape[-1]

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """The first ``train`` and ``test`` images (None: all)."""
        return replace(self, train=self.train.first(train), test=self.test.first(test))


def split(images: Samples, held_out: float, seed: int) -> tuple[Samples, Samples]:
    """Shuffled by the seed into (the rest, ``held_out`` of the images), class by class in the same proportion.

    Raises:
        ValueError: ``held_out`` outside (0, 1), or one of the parts would be empty.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"the share of images to hold out must be between 0 and 1, not {held_out}")
    order = torch.randperm(len(images), generator=generator(seed, "split"))
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label in images.labels.unique():
        members = order[images.labels[order] == label]
        chosen[members[: round(held_out * len(members))]] = True
    rest, held = order[~chosen[order]], order[chosen[order]]
    if not len(rest) or not len(held):
        raise ValueError(f"holding out {held_out} of {len(images)} images leaves a part empty: use more images")
    return images.take(rest), images.take(held)
