"""From a table of encoded images, and from single pictures, to pixels and labels; nothing is guessed."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustsnn.names import one_line
from robustsnn.seeds import generator

LABELS, IMAGES = ("label", "labels"), ("image", "img")
"""What the columns of labels and of images may be called where their types do not tell."""


def columns(names: Iterable[str], kinds: Mapping[str, Any], label: str = "") -> tuple[str, str]:
    """The columns of images and of labels: those called so, else the only ones of the type ``Image`` and ``ClassLabel``.

    Arguments:
        names: of all columns; kinds: the types of the library ``datasets`` that are known, by column.
        label: the name of the label's column, if it is known.

    Raises:
        ValueError: none or several of them might be meant.
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
        f"of the columns {', '.join(names)} one must be called 'image' and one 'label', since which ones are meant is not "
        "guessed: rename them (rename_column of the library datasets). A folder of a single class has no labels"
    )


def pixels(picture: Any) -> NDArray[np.uint8]:
    """The pixels ``[C,H,W]`` of a PIL image: one channel where it is grey, else red, green and blue; 16 bits become 8.

    Raises:
        ValueError: pixels whose range nobody knows, or that are transparent.
    """
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.rint(np.asarray(picture, np.float64) / 257).astype(np.uint8)[None]
    if mode in ("I", "F"):
        raise ValueError(f"an image of mode {mode!r} may hold any numbers: save it with 8 or 16 bits per channel")
    if "A" in mode.replace("LAB", "") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if mode != "LA" else "LA")
        if picture.getchannel("A").getextrema()[0] < 255:
            raise ValueError("an image is transparent in places: put it on a background")
    grey = mode in ("1", "L", "LA")
    array = np.array(picture.convert("L" if grey else "RGB"))
    return array[None] if grey else array.transpose(2, 0, 1)


def decoded(name: str, table: Any, label: str = "", channels: int = 0) -> tuple[Tensor, Tensor, int]:
    """Pixels ``[N,C,H,W]`` uint8, labels ``[N]`` of one split, and the number of classes, 0 where the column does not say.

    Arguments:
        name: of the data set, for errors; table: the split, as the library ``datasets`` gives it.
        label: name of the column, if `columns` is not to find it.
        channels: 1 or 3; 0: as the images have it, 3 where any has colour.

    Raises:
        ValueError: columns that are not there or cannot be decoded, or images that differ in size.
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
            f"data set {name!r} cannot be decoded ({what}): repair or remove the file it names, or check the columns "
            f"{image!r} and {label!r}"
        ) from None
    first, *others = {array.shape[1:]: None for array in arrays}
    if others:
        raise ValueError(f"images of {name!r} differ in size ({first}, {others[0]}): make them one size")
    images = torch.from_numpy(np.stack([np.broadcast_to(array, (channels, *first)) for array in arrays]))
    return images, labels, getattr(table.features[label], "num_classes", 0)


def whole_numbers(labels: Any) -> Tensor:
    """Labels as int64, as they were given.

    Raises:
        ValueError: fractions, texts, or anything else that is no class.
    """
    texts = [label for label in (labels if isinstance(labels, list | tuple) else [labels]) if isinstance(label, str)]
    if texts:
        raise ValueError(f"labels are texts, such as {texts[0][:80]!r}: number the classes from 0")
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"labels must be integers, one per sample ({one_line(error)})") from None
    if found.is_floating_point():
        raise ValueError(f"labels must be integers, not {found.dtype}: number the classes from 0")
    return found.long()


def mixed(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same images, in a fixed order at random where each class stands together, else in their own."""
    if len(labels.unique_consecutive()) > len(labels.unique()):
        return pixels, labels
    order = torch.randperm(len(labels), generator=generator(0, "order"))
    return pixels[order], labels[order]
