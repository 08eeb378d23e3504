"""From a table of encoded images to pixels and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustsnn.names import one_line
from robustsnn.seeds import generator


def decoded(name: str, table: Any, label: str = "", channels: int = 0) -> tuple[Tensor, Tensor]:
    """Pixels ``[N,C,H,W]`` uint8 and labels ``[N]`` of one split.

    Arguments:
        name: of the data set, for errors; table: the split, as the library ``datasets`` gives it.
        label: name of the column; not given: a usual one, else the last.
        channels: 1 or 3; 0: as the images have it, 3 where any has colour.

    Raises:
        ValueError: columns that are not there or cannot be decoded, or images that differ in size.
    """
    import datasets

    columns = table.column_names
    image = next((c for c in ("img", "image") if c in columns), columns[0])
    label = label or next((c for c in ("label", "labels", "fine_label", "class") if c in columns), columns[-1])
    if not {image, label} <= set(columns) or image == label:
        raise ValueError(f"data set {name!r} has columns {columns}: it needs one called 'image' and one called 'label'")
    try:
        if not isinstance(table.features[image], datasets.Image):
            table = table.cast_column(image, datasets.Image())
        mode = {0: None, 1: "L"}.get(channels, "RGB")
        pictures = (row[image] for row in table.select_columns([image]))
        arrays = [np.atleast_3d(np.asarray(picture.convert(mode or _mode(picture)))) for picture in pictures]
        channels = max(array.shape[2] for array in arrays)
        labels = torch.tensor(table[label][:], dtype=torch.int64)
    except Exception as error:
        what = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(
            f"data set {name!r} cannot be decoded ({what}): repair or remove the file it names, or check the columns "
            f"{image!r} and {label!r}"
        ) from None
    first, *others = {array.shape[:2]: None for array in arrays}
    if others:
        raise ValueError(f"images of {name!r} differ in size ({first}, {others[0]}): make them one size")
    pixels = torch.from_numpy(np.stack([np.broadcast_to(array, (*first, channels)) for array in arrays]))
    return pixels.permute(0, 3, 1, 2).contiguous(), labels


def _mode(picture: Any) -> str:
    """Grey or in colour; a palette is of colours."""
    return "L" if len(picture.getbands()) == 1 and picture.mode != "P" else "RGB"


def mixed(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same images, in a fixed order at random where each class stands together, else in their own."""
    if len(labels.unique_consecutive()) > len(labels.unique()):
        return pixels, labels
    order = torch.randperm(len(labels), generator=generator(0, "order"))
    return pixels[order], labels[order]
