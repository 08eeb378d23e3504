"""Recordings of event cameras, read from files and put into frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustsnn.names import one_line

LARGEST = 2**51
"""Limit of all numbers in a recording, which keeps whole-number arithmetic on times exact."""

Binning = Literal["time", "count"]


@dataclass(frozen=True, eq=False)
class Events:
    """A recording: one entry per event.

    Arguments:
        t: times in microseconds ``[n]``, in order.
        x: columns ``[n]``, from 0.
        y: rows ``[n]``, from 0.
        p: polarities ``[n]``: 1 if the pixel became brighter, else 0.

    Raises:
        ValueError: lengths differ, times run backwards, a polarity is neither 0 nor 1, or a number is impossibly large.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    p: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in vars(self).items()}
        if len({*lengths.values()}) > 1:
            raise ValueError(f"t, x, y and p must have one entry per event, but have {lengths}")
        for name, values in vars(self).items():
            if values.ndim != 1:
                raise ValueError(f"{name} must be a list of numbers, not an array {list(values.shape)}: flatten it")
            if len(values) and not -LARGEST < int(values.min()) <= int(values.max()) < LARGEST:
                raise ValueError(f"{name} holds numbers of {LARGEST} or more: times are in microseconds, the rest in pixels")
        if len(self.t) and int(np.diff(self.t).min(initial=0)) < 0:
            place = int(np.argmax(np.diff(self.t) < 0)) + 1
            raise ValueError(f"time runs backwards at event {place}: sort the events by t")
        if len(self.p) and not np.isin(self.p, (0, 1)).all():
            raise ValueError("polarities must be 0 or 1: write 0 for -1")

    def __len__(self) -> int:
        return len(self.t)

    def frames(self, steps: int, size: tuple[int, int], by: Binning = "time", clip: int = 1) -> NDArray[np.uint8]:
        """Count events per time bin, polarity and pixel, vectorised.

        Arguments:
            steps: number of bins T.
            size: height and width of the sensor.
            by: ``"time"`` makes bins of equal duration, ``"count"`` bins of equally many events.
            clip: largest count that is kept; 1 makes binary frames.

        Returns:
            Counts ``[T, 2, H, W]``.

        Raises:
            ValueError: an event lies outside the sensor, or ``steps`` or ``clip`` is out of range.

        >>> two = Events(*(np.array(values) for values in ([0, 90], [0, 1], [0, 0], [1, 1])))
        >>> two.frames(3, (1, 2))[:, 1, 0].tolist()
        [[1, 0], [0, 0], [0, 1]]
        """
        if not 1 <= steps <= 1024 or not 1 <= clip <= 255 or by not in ("time", "count"):
            given = f"{steps}, {clip}, {by!r}"
            raise ValueError(f"frames need steps >= 1 (1024 at most), clip in 1 .. 255, by 'time' or 'count', not {given}")
        height, width = size
        outside = (self.x < 0) | (self.x >= width) | (self.y < 0) | (self.y >= height)
        if outside.any():
            place = int(outside.argmax())
            raise ValueError(
                f"event {place} is at x = {self.x[place]}, y = {self.y[place]}, outside a sensor of {height} rows and "
                f"{width} columns: give the sensor's size"
            )
        if by == "count":
            step = np.arange(len(self)) * steps // max(len(self), 1)
        else:
            since = self.t - (self.t[0] if len(self) else 0)
            step = since * steps // (int(since[-1]) + 1 if len(self) else 1)
        cell = ((step * 2 + self.p) * height + self.y) * width + self.x
        counts = np.bincount(cell, minlength=steps * 2 * height * width)
        return counts.clip(max=clip).astype(np.uint8).reshape(steps, 2, height, width)


def read_nmnist(path: Path | str) -> Events:
    """Read a ``.bin`` file of N-MNIST or N-Caltech101: five bytes an event, which are x, y, then one bit of polarity and 23
    bits of microseconds (Orchard et al. 2015).

    Raises:
        ValueError: the file cannot be read, or ends within an event.
    """
    raw = np.frombuffer(_bytes(Path(path)), dtype=np.uint8)
    if not len(raw) or len(raw) % 5:
        raise ValueError(f"{path} has {len(raw)} bytes, not five per event: it is cut off or not an N-MNIST recording")
    x, y, high, middle, low = raw.reshape(-1, 5).astype(np.int64).T
    return _checked(path, {"t": (high & 127) << 16 | middle << 8 | low, "x": x, "y": y, "p": high >> 7})


def read_npz(path: Path | str) -> Events | NDArray[Any]:
    """Read an ``.npz`` file: a recording with the arrays ``t``, ``x``, ``y`` and ``p``, or ``frames [T, 2, H, W]``, both as
    SpikingJelly writes them. Nothing in the file is executed.

    Raises:
        ValueError: the file cannot be read, or has neither.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files if name in ("t", "x", "y", "p", "frames")}
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise ValueError(f"cannot read {path} ({one_line(error)}): it is damaged or not an .npz file of numbers") from None
    if "frames" in arrays:
        return arrays["frames"]
    if missing := {"t", "x", "y", "p"} - arrays.keys():
        raise ValueError(f"{path} has no array {min(missing)!r}: an .npz recording needs t, x, y and p, or frames")
    return _checked(path, arrays)


def _checked(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> Events:
    try:
        return Events(**{name: _whole(name, np.asarray(arrays[name])) for name in ("t", "x", "y", "p")})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; check the path") from None


def _whole(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind not in "buif" or not (np.isfinite(values) & (values == np.rint(values))).all():
        raise ValueError(f"{name} must hold whole numbers: convert it")
    return np.clip(values.astype(np.float64), -LARGEST, LARGEST).astype(np.int64)
