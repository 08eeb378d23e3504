"""Decoding of image tables and single images to pixels and labels, without guessing."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustsnn.names import one_line
from robustsnn.seeds import generator

LABELS, IMAGES = ("label", "labels"), ("image", "img")
"""Accepted names of the label and image columns."""


def columns(names: Iterable[str], kinds: Mapping[str, Any], label: str = "") -> tuple[str, str]:
    """Return the names of the image and label columns, found by name, else as the only ``Image`` and ``ClassLabel`` column.

    Arguments:
        names: all column names; kinds: known column types of the library ``datasets``, by column.
        label: the label column, if known.

    Raises:
        ValueError: no column, or more than one, qualifies.
    """
    names = list(names)

    def found(called: tuple[str, ...], kind: str) -> str | None:
        named = [name for name in names if name in called] or [
            name for name in names if type(kinds.get(name)).__name__ == kind and name != label
        ]
        return named[0] if len(named) == 1 else None

    image, label = found(IMAGES, "Image") or "", label or found(LABELS, "ClassLabel") or ""
    if {image, label} <= set(names):
        return image, label
    raise ValueError(
        f"none of the columns {', '.join(names)} can be identified as images and labels: rename them to 'image' and 'label' "
        "(rename_column of the library datasets). A folder of a single class has no labels"
    )


def pixels(picture: Any) -> NDArray[np.uint8]:
    """Return the pixels ``[C,H,W]`` of a PIL image: one channel if it is grey, else RGB; 16 bits become 8.

    Raises:
        ValueError: the range of the pixels is unknown, or some are transparent.
    """
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.rint(np.asarray(picture, np.float64) / 257).astype(np.uint8)[None]
    if mode in ("I", "F"):
        raise ValueError(f"the pixel range of an image of mode {mode!r} is unknown: save it with 8 or 16 bits per channel")
    if "A" in mode.replace("LAB", "") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if mode != "LA" else "LA")
        if picture.getchannel("A").getextrema()[0] < 255:
            raise ValueError("an image has transparent pixels: put it on a background")
    grey = mode in ("1", "L", "LA")
    array = np.array(picture.convert("L" if grey else "RGB"))
    return array[None] if grey else array.transpose(2, 0, 1)


def decoded(name: str, table: Any, label: str = "", channels: int = 0) -> tuple[Tensor, Tensor, int]:
    """Return uint8 pixels ``[N,C,H,W]`` and labels ``[N]`` of a split, and its number of classes (0: unknown).

    Arguments:
        name: name of the data set, for errors; table: the split, a table of the library ``datasets``.
        label: name of the label column; if empty, `columns` finds it.
        channels: 1 or 3; 0: as in the images, 3 if any has colour.

    Raises:
        ValueError: columns are missing or cannot be decoded, or images differ in size.
    """
    import datasets

    try:
        image, label = columns(table.column_names, table.features, label)
    except ValueError as error:
        raise ValueError(f"data set {name!r}: {error}") from None
    try:
        if not isinstance(table.features[image], datasets.Image):
            table = table.cast_column(image, datasets.Image())
        pictures = (row[image] for row in table.select_columns([image]))
        arrays = [pixels(picture.convert("L") if channels == 1 else picture) for picture in pictures]
        channels = channels or max(len(array) for array in arrays)
        labels = whole_numbers(table[label][:])
    except Exception as error:
        what = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(
            f"data set {name!r} cannot be decoded ({what}): repair or remove the named file, or check the columns "
            f"{image!r} and {label!r}"
        ) from None
    first, *others = {array.shape[1:]: None for array in arrays}
    if others:
        raise ValueError(f"images of {name!r} differ in size ({first}, {others[0]}): resize them to one size")
    images = torch.from_numpy(np.stack([np.broadcast_to(array, (channels, *first)) for array in arrays]))
    return images, labels, getattr(table.features[label], "num_classes", 0)


def whole_numbers(labels: Any) -> Tensor:
    """Return labels as int64.

    Raises:
        ValueError: the labels are fractions, strings, or otherwise not integers.
    """
    texts = [label for label in (labels if isinstance(labels, list | tuple) else [labels]) if isinstance(label, str)]
    if texts:
        raise ValueError(f"labels are strings, such as {texts[0][:80]!r}: number the classes from 0")
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"labels must be integers, one per sample ({one_line(error)})") from None
    if found.is_floating_point():
        remedy = "of one-hot rows use argmax(1)" if found.dim() > 1 else "number the classes from 0"
        raise ValueError(f"labels must be integers, not {found.dtype}: {remedy}")
    return found.long()


def mixed(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images in a fixed random order if they are sorted by class, otherwise in their own order."""
    if len(labels.unique_consecutive()) > len(labels.unique()):
        return pixels, labels
    order = torch.randperm(len(labels), generator=generator(0, "order"))
    return pixels[order], labels[order]
