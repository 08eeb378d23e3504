"""Adversarial samples next to their originals, as PNG embedded in the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustsnn.evaluation import Example
from robustsnn.reporting.event_pictures import events_changed, of_events, strips


@dataclass(frozen=True)
class Triple:
    """An example as three pictures with a caption; each picture is a ``data:`` URL and its alternative text.

    Arguments:
        moving: an animation of the three, if the sample has frames of events.
    """

    pictures: tuple[tuple[str, str], ...]
    caption: str
    source: str
    moving: tuple[str, str] | None = None


def triple(example: Example) -> Triple:
    """Return the pictures of an example: before the attack, after it, and the difference."""
    caption, source = f"{example.label} classified as {example.seen_as}", f"sample {example.image}, {example.member}"
    texts = [
        f"Test sample {example.image} of class {example.label}",
        f"The sample after the attack, classified as {example.seen_as}",
    ]
    if of_events(example):
        files, moving = strips(example)
        changes = events_changed(example)
        texts.append(f"The changed events{': ' * bool(changes)}{changes}")
        shown = tuple((_address(file), text) for file, text in zip(files, texts, strict=True))
        about = "The same frames one after the other: before the attack, after it, and the changed events"
        source = "; ".join(filter(None, (changes, source)))
        return Triple(shown, caption, source, (_address(moving), about) if moving else None)
    largest = max(1, *example.original, *example.adversarial) if example.counts else 255
    before, after = (_image(values, example.shape, largest) for values in (example.original, example.adversarial))
    change = after.astype(np.float64) - before
    factor = 127 / max(1.0, np.abs(change).max())
    difference = np.rint(128 + factor * change).clip(0, 255).astype(np.uint8)
    texts.append(f"Their difference, magnified {factor:.3g} times; grey means no change")
    pictures = tuple((_address(png(image)), text) for image, text in zip((before, after, difference), texts, strict=True))
    return Triple(pictures, caption, source)


def _image(values: bytes, shape: tuple[int, ...], largest: int) -> NDArray[np.uint8]:
    """Return a sample with values up to ``largest`` as bytes ``[C,H,W]``: the mean over dimensions before the last three, such
    as time steps; missing dimensions get size 1."""
    sample = np.frombuffer(values, np.uint8).reshape((1,) * (3 - len(shape)) + shape)
    frames = sample.reshape(-1, *sample.shape[-3:])
    image: NDArray[np.uint8] = np.rint(frames.mean(0) * (255 / largest)).astype(np.uint8)
    return image


def _address(file: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(file).decode()


def png(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of an image ``[C,H,W]`` of bytes: in colour if C is 3, else the grey mean of its channels.

    The same image gives the same file.
    """
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else np.rint(image.mean(0)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
