"""Examples as pictures: files that another library reads, and a difference that is as large as it says."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_page import FINETUNED, example, run

from robustsnn.reporting import Row
from robustsnn.reporting.pictures import png, triples


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_reads_the_same_pixels(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), np.uint8)
    read = Image.open(io.BytesIO(png(image)))
    read.verify()
    found = np.asarray(Image.open(io.BytesIO(png(image))))
    expected = image.transpose(1, 2, 0) if channels == 3 else np.rint(image.mean(0))
    assert read.size == (7, 5)
    assert np.array_equal(found, expected)


def test_the_difference_is_magnified_to_the_whole_range() -> None:
    report = FINETUNED.report.model_copy(update={"examples": (example(),)})
    ((network, attack, (triple,)),) = triples(run(Row(network="n", report=report)))
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))) for uri, _ in triple.pictures]
    assert [set(image.flat) for image in pixels] == [{100}, {120}, {255}]  # 128 + 20 * 127 / 20
    assert (network, attack) == ("n", "PGD-20, ε = 20/255")
    assert triple.caption == "3 taken for 8"
    assert "6.35 times" in triple.pictures[2][1]
