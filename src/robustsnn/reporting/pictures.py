"""Adversarial images next to their originals, as PNG embedded in the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustsnn.evaluation import Example


@dataclass(frozen=True)
class Triple:
    """An example as three pictures with a caption; each picture is a ``data:`` URL and its alternative text."""

    pictures: tuple[tuple[str, str], ...]
    caption: str
    source: str


def triple(example: Example) -> Triple:
    """Return the pictures of an example: before the attack, after it, and the difference."""
    before, after = (_image(pixels, example.shape) for pixels in (example.original, example.adversarial))
    change = after.astype(np.float64) - before
    factor = 127 / max(1.0, np.abs(change).max())
    difference = np.rint(128 + factor * change).clip(0, 255).astype(np.uint8)
    texts = (
        f"Test image {example.image} of class {example.label}",
        f"The image after the attack, classified as {example.seen_as}",
        f"Their difference, magnified {factor:.3g} times; grey means no change",
    )
    pictures = tuple((_address(image), text) for image, text in zip((before, after, difference), texts, strict=True))
    return Triple(pictures, f"{example.label} classified as {example.seen_as}", f"image {example.image}, {example.member}")


def _image(values: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a sample as ``[C,H,W]``: the mean over dimensions before the last three, such as time steps; missing dimensions
    get size 1."""
    sample = np.frombuffer(values, np.uint8).reshape((1,) * (3 - len(shape)) + shape)
    frames = sample.reshape(-1, *sample.shape[-3:])
    image: NDArray[np.uint8] = np.rint(frames.mean(0)).astype(np.uint8)
    return image


def _address(image: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def png(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of an image ``[C,H,W]`` of bytes: in colour if C is 3, else the grey mean of its channels.

    The same image gives the same file.
    """
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else np.rint(image.mean(0)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
