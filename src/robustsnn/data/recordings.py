"""Data sets of event cameras: folders of recordings, one per class, put into frames and cached."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustsnn.data.decoded import HERE, cache_of, keep, read, written
from robustsnn.data.decoding import mixed
from robustsnn.data.events import Events, read_nmnist, read_npz
from robustsnn.data.samples import Dataset, Samples, split, statistics
from robustsnn.data.splits import of_folders
from robustsnn.names import one_line

PARTS = "train", "test"
READERS = {".bin": read_nmnist, ".npz": read_npz}
"""Readers of recordings by the ending of the file."""
STEPS = 8
"""Frames per recording, if nothing else is said."""
NMNIST = 34
"""Pixels per side of N-MNIST's recordings."""
WHOLE = 70_000
"""Number of N-MNIST's recordings."""
WIDEST = 1280
"""Largest side of a sensor in pixels."""


def nmnist() -> Dataset:
    """N-MNIST: recordings of a camera that moves over MNIST's digits, as 8 binary frames of 2 polarities and 34x34 pixels.

    The folder ``nmnist`` in ``ROBUSTSNN_DATA`` holds ``Train/<digit>/*.bin`` and ``Test/<digit>/*.bin``; without ``Test``, a
    fixed, stratified fifth is for testing. A subset of the recordings will do. Source: Orchard et al. 2015.

    Raises:
        ValueError: the folder is missing, or a recording is damaged.
    """
    folder = nmnist_folder()
    if folder is None:
        where = os.environ.get(HERE)
        place = f"into {Path(where) / 'nmnist'}" if where else f"into a folder nmnist, and set {HERE} to the folder above it"
        raise ValueError(
            "data set 'nmnist' is not on this machine: get it from https://www.garrickorchard.com/datasets/n-mnist, and put "
            f"its folders Train and Test {place}"
        )
    found = _read("nmnist", folder, STEPS, NMNIST)
    count = len(found.train) + len(found.test)
    return found if count == WHOLE else replace(found, note=f"a subset of N-MNIST, {count:,} of its {WHOLE:,} recordings")


def nmnist_folder() -> Path | None:
    """Return the folder of N-MNIST's recordings; None if it is not on this machine."""
    folder = Path(os.environ.get(HERE) or os.devnull) / "nmnist"
    return folder if folder.is_dir() else None


def of_recordings(name: str) -> bool:
    """Return whether a data set's name is a folder whose subfolders hold recordings."""
    folders = os.walk(Path(name.partition("?")[0]))
    next(folders, None)
    files = (found for _, _, names in folders if (found := [file for file in names if not file.startswith(".")]))
    return any(Path(file).suffix in READERS for file in next(files, ()))


def of_folder(name: str) -> Dataset:
    """Load a folder of recordings: ``<class>/*.npz`` or ``*.bin``, or such folders in ``train`` and ``test``.

    Arguments:
        name: the folder, or ``folder?steps=16`` for 16 frames per recording; otherwise 8. ``.npz`` files with ``frames`` keep
            their number of frames and their counts.

    Raises:
        ValueError: a file is damaged, or recordings do not fit together.
    """
    folder, steps = _folder(name)
    return _read(name, folder, steps, None)


def _folder(name: str) -> tuple[Path, int]:
    path, asked, steps = name.partition("?steps=")
    if asked and not (steps.isdigit() and int(steps) > 0):
        raise ValueError(f"data set {name!r}: write the number of frames as in {path}?steps=16")
    return Path(path), int(steps) if asked else STEPS


def _read(name: str, folder: Path, steps: int, side: int | None) -> Dataset:
    cache = cache_of(name, f"{written(folder)} {steps} {side}")
    found = read(cache) or keep(cache, name, _decode(folder, steps, side))
    classes = int(found["train.labels"].max()) + 1
    train, test = (Samples(found[f"{part}.pixels"], found[f"{part}.labels"], classes, counts=True) for part in PARTS)
    return Dataset(name, train, test, *statistics(train))


def _decode(folder: Path, steps: int, side: int | None) -> dict[str, Tensor]:
    parts = of_folders(folder)
    classes = sorted((path.name for path in parts["train"].iterdir() if path.is_dir()), key=lambda name: (len(name), name))
    tensors: dict[str, Tensor] = {}
    for part, place in parts.items():
        files = [path for path in sorted(place.glob("*/*")) if path.suffix in READERS]
        if not files:
            raise ValueError(f"{place} has no recordings *.bin or *.npz in a folder per class: put them there")
        if unknown := sorted({path.parent.name for path in files} - set(classes)):
            raise ValueError(f"{place / unknown[0]} is not a class of {parts['train']}: rename or remove it")
        side = side or _side(files)
        frames = [_frames(path, steps, side) for path in files]
        first, *others = {array.shape: path for array, path in zip(frames, files, strict=True)}.items()
        if others:
            (shape, path), (other, another) = first, others[0]
            raise ValueError(f"{path} has frames {list(shape)}, but {another} {list(other)}: make them alike")
        labels = torch.tensor([classes.index(path.parent.name) for path in files])
        tensors[f"{part}.pixels"], tensors[f"{part}.labels"] = mixed(torch.from_numpy(np.stack(frames)), labels)
    if "test" not in parts:
        whole = Samples(tensors["train.pixels"], tensors["train.labels"], len(classes), counts=True)
        for part, held in zip(PARTS, split(whole, 0.2, seed=0), strict=True):
            tensors |= {f"{part}.pixels": held.values, f"{part}.labels": held.labels}
    return tensors


def _side(files: Sequence[Path]) -> int:
    """Return the side of the smallest square sensor that holds all events of some recordings; 0 if they are frames."""
    side = 0
    for path in files:
        found = READERS[path.suffix](path)
        if isinstance(found, Events):
            side = max(side, int(max(found.x.max(initial=0), found.y.max(initial=0))) + 1)
            if side > WIDEST:
                raise ValueError(f"{path} has an event at pixel {side - 1}: sensors have {WIDEST} pixels per side at most")
    return side


def _frames(path: Path, steps: int, side: int) -> NDArray[np.uint8]:
    """Return the frames ``[T,C,H,W]`` of a file: recordings as binary frames, frames as they are."""
    found = READERS[path.suffix](path)
    if isinstance(found, Events):
        try:
            return found.frames(steps, (side, side))
        except ValueError as error:
            raise ValueError(f"{path}: {one_line(error)}") from None
    if found.ndim != 4 or found.dtype.kind not in "buif":
        raise ValueError(f"{path} has frames {list(found.shape)} of {found.dtype}: they must be numbers [T,C,H,W]")
    if not ((found >= 0) & (found <= 255) & (found == np.rint(found))).all():
        raise ValueError(f"{path} has frames with other values than whole numbers of events in 0 .. 255: count the events")
    return found.astype(np.uint8)
