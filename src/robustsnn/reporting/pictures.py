"""Adversarial images beside their originals, as PNG inside the page."""

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
    """An example as three pictures, each a ``data:`` address and what it shows in words, and their caption."""

    pictures: tuple[tuple[str, str], ...]
    caption: str
    source: str


def triple(example: Example) -> Triple:
    """Before, after, and what was changed."""
    before, after = (_image(pixels, example.shape) for pixels in (example.original, example.adversarial))
    change = after.astype(np.float64) - before
    factor = 127 / max(1.0, np.abs(change).max())
    difference = np.rint(128 + factor * change).clip(0, 255).astype(np.uint8)
    texts = (
        f"Test image {example.image}, which shows class {example.label}",
        f"The same after the attack, taken for class {example.seen_as}",
        f"Their difference, {factor:.3g} times as large, grey where there is none",
    )
    pictures = tuple((_address(image), text) for image, text in zip((before, after, difference), texts, strict=True))
    return Triple(pictures, f"{example.label} taken for {example.seen_as}", f"image {example.image}, {example.member}")


def _image(values: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A sample as ``[C,H,W]``: the mean over what comes before the last three dimensions, such as time steps; fewer than three
    dimensions are the last ones."""
    sample = np.frombuffer(values, np.uint8).reshape((1,) * (3 - len(shape)) + shape)
    frames = sample.reshape(-1, *sample.shape[-3:])
    image: NDArray[np.uint8] = np.rint(frames.mean(0)).astype(np.uint8)
    return image


def _address(image: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image ``[C,H,W]`` of bytes: in colour where C is 3, else the mean of its channels in grey.

    The same image gives the same file.
    """
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else np.rint(image.mean(0)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
