"""Images in memory: uint8 tensors with labels, batches and augmentation from an explicit generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.names import find
from robustsnn.seeds import generator


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images.

    Arguments:
        pixels: ``[N,C,H,W]``, uint8 (read as value / 255) or float32 in ``[0, 1]``.
        labels: int64 ``[N]``, each in ``0 .. classes - 1``.
        classes: number of classes.

    Raises:
        ValueError: shapes, types, values or labels that are none of this.
    """

    pixels: Tensor
    labels: Tensor
    classes: int

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

    def take(self, index: Tensor) -> Images:
        """The images ``index``."""
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def first(self, count: int | None) -> Images:
        """The first ``count`` images (None: all)."""
        return self if count is None else self.take(torch.arange(min(count, len(self))))

    def batches(self, size: int, rng: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches ``(pixels, labels, index)`` in order, or shuffled by ``rng``; the last one may be smaller."""
        order = torch.arange(len(self)) if rng is None else torch.randperm(len(self), generator=rng)
        for index in order.split(size):
            yield *self.batch(index), index


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images of one name, with the statistics networks normalise by."""

    name: str
    train: Images
    test: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        return self.train.pixels.shape[1]

    @property
    def size(self) -> int:
        return self.train.pixels.shape[-1]

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """The first ``train`` and ``test`` images (None: all)."""
        return replace(self, train=self.train.first(train), test=self.test.first(test))


def split(images: Images, held_out: float, seed: int) -> tuple[Images, Images]:
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


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels, embedded in that library; every fourth is for testing.

    The split is stratified and fixed, so that figures compare. Source: UCI "Optical recognition of handwritten digits".
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    levels = torch.from_numpy(np.rint(raw.images * (255 / 16)).astype(np.uint8))
    everything = Images(levels[:, None], torch.from_numpy(raw.target).long(), classes=10)
    train, test = split(everything, held_out=0.25, seed=0)
    return Dataset("digits", train, test, mean=(0.305,), std=(0.376,))


DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits}


def load_dataset(name: str) -> Dataset:
    """A data set by name.

    Raises:
        ValueError: an unknown name.
    """
    return find("data set", DATASETS, name)()


@dataclass(frozen=True)
class Augment:
    """Random crop after zero padding and, if asked, horizontal flip, for a whole batch at once.

    Arguments:
        pad: pixels of zero padding on every side before the crop.
        flip: mirror half of the images.
    """

    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"padding must be at least 0, not {self.pad}")

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Augmented copies of ``x [N,C,H,W]``; ``rng`` decides."""
        n, _, height, width = x.shape
        rows, columns = torch.arange(height).expand(n, -1), torch.arange(width).expand(n, -1)
        if self.flip:
            mirrored = torch.rand(n, 1, generator=rng) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        if self.pad:
            x = F.pad(x, [self.pad] * 4)
            rows = rows + torch.randint(2 * self.pad + 1, (n, 1), generator=rng)
            columns = columns + torch.randint(2 * self.pad + 1, (n, 1), generator=rng)
        images = torch.arange(n)[:, None, None]
        picked = x.movedim(1, -1)[images, rows[:, :, None], columns[:, None, :]]
        return picked.movedim(-1, 1).contiguous()
