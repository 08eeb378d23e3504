"""Adversarial event frames as pictures: all frames side by side, and a short animation."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustsnn.evaluation import Example

COLOURS = "#2b7fd4", "#d9640f"
"""Colours of polarity 0 (darker) and polarity 1 (brighter), visible on light and dark pages; both in one pixel mix to grey."""
GREY = "#808080"
BACKGROUND, UNCHANGED = 28, 90
"""Opacity of grey in empty pixels, and in pixels of unchanged events, of 255."""
COLUMNS = 8
"""Frames per line of a strip."""
LARGEST = 50_000
"""Size limit of an animation in bytes."""

Frames = NDArray[np.float64]
"""``[T, 2, H, W]``, values in ``[0, 1]``."""
Painted = NDArray[np.uint8]
"""``[T, h, w, 4]``: red, green, blue, opacity."""


def of_events(example: Example) -> bool:
    """Return whether an example is of frames with one or two polarities."""
    channels = example.shape[-3] if len(example.shape) > 2 else 0
    return (channels in (1, 2) and example.counts) or (channels == 2 and len(example.shape) == 4)


def strips(example: Example) -> tuple[tuple[bytes, ...], bytes | None]:
    """Return PNG files of the frames before the attack, after it, and of the changes; and an animation of the three (APNG),
    None if it would be too large.

    In the strip of changes, filled squares are added events, and hollow squares removed ones; animations of large sensors have
    no room for the difference.
    """
    before, after = (_frames(values, example.shape) for values in (example.original, example.adversarial))
    most = max(1.0, before.max(), after.max())
    before, after = before / most, after / most
    side = max(before.shape[-2:])
    still = [_grid(part) for part in _painted(before, after, max(3, min(5, 200 // side)))]
    moving = _animation(_painted(before, after, max(1, 108 // side)))
    return tuple(_png([picture]) for picture in still), moving if len(moving) <= LARGEST else None


def events_changed(example: Example) -> str:
    """Return how many events an attack changed, as text; empty if the values are not counts."""
    if not example.counts:
        return ""
    before, after = (np.frombuffer(values, np.uint8).astype(int) for values in (example.original, example.adversarial))
    added, removed = (int(np.maximum(change, 0).sum()) for change in (after - before, before - after))
    return f"{added:,} added, {removed:,} removed, of {int(before.sum()):,} events"


def _frames(values: bytes, shape: tuple[int, ...]) -> Frames:
    frames = np.frombuffer(values, np.uint8).astype(np.float64).reshape(-1, *shape[-3:])
    return frames if frames.shape[1] == 2 else np.concatenate([np.zeros_like(frames), frames], 1)


def _painted(before: Frames, after: Frames, cell: int) -> list[Painted]:
    """Paint the frames before, after, and the changes, with squares of ``cell`` pixels."""
    still = [_squares(_opaque(frames), cell) for frames in (before, after)]
    added, removed = np.maximum(after - before, 0), np.maximum(before - after, 0)
    kept = np.where((np.minimum(before, after).sum(1) > 0) & ((added + removed).sum(1) == 0), UNCHANGED, BACKGROUND)
    inside, rim = _opaque(added, kept), _opaque(removed, kept)
    rim = np.where(removed.sum(1)[..., None] > 0, rim, inside)
    changes = _squares(rim, cell)
    hole = np.zeros((cell, cell), bool)
    hole[1:-1, 1:-1] = True
    filled = np.tile(hole, before.shape[-2:])[..., None]
    return [*still, np.where(filled, _squares(inside, cell), changes)]


def _opaque(amounts: Frames, grey: NDArray[np.int_] | int = BACKGROUND) -> Painted:
    """Return one pixel per pixel of the sensor: the colours of its polarities, or ``grey`` where there are no events."""
    inks = np.array([_rgb(colour) for colour in COLOURS], float)
    total = amounts.sum(1)[..., None]
    mixed = np.einsum("tphw,pc->thwc", amounts, inks) / np.where(total > 0, total, 1)
    opacity = np.where(total > 0, 255 * np.sqrt(amounts.max(1))[..., None], np.broadcast_to(grey, total.shape[:3])[..., None])
    painted: Painted = np.rint(np.concatenate([np.where(total > 0, mixed, _rgb(GREY)), opacity], -1)).astype(np.uint8)
    return painted


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _squares(pixels: Painted, cell: int) -> Painted:
    return pixels.repeat(cell, 1).repeat(cell, 2)


def _grid(frames: Painted) -> Painted:
    """Arrange frames in lines, from left to right and top to bottom, with gaps: ``[h, w, 4]``."""
    gap, columns = 4, min(COLUMNS, len(frames))
    missing = -len(frames) % columns
    padded = np.pad(frames, ((0, missing), (0, gap), (0, gap), (0, 0)))
    lines = padded.reshape(-1, columns, *padded.shape[1:]).transpose(0, 2, 1, 3, 4)
    return lines.reshape(lines.shape[0] * lines.shape[1], -1, 4)[:-gap, :-gap]


def _animation(parts: list[Painted]) -> bytes:
    return _png([_grid(np.stack(moment)) for moment in zip(*parts, strict=True)])


def _png(pictures: list[Painted]) -> bytes:
    """Return a PNG file of one picture, or of several in a loop, a quarter of a second each."""
    first, *others = (Image.fromarray(picture, "RGBA") for picture in pictures)
    file = io.BytesIO()
    if others:
        first.save(file, "PNG", optimize=True, save_all=True, append_images=others, duration=250, loop=0)
    else:
        first.save(file, "PNG", optimize=True)
    return file.getvalue()
