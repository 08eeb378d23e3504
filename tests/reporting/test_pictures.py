"""Examples as pictures: files that another library reads, and a difference that is as large as it says."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_html_page import FINETUNED, Parsed, example, run

from composed import changed
from robustsnn.reporting import Row, page
from robustsnn.reporting.pictures import png, triple


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
    made = triple(example())
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))) for uri, _ in made.pictures]
    assert [set(image.flat) for image in pixels] == [{100}, {120}, {255}]  # 128 + 20 * 127 / 20
    assert made.caption == "3 classified as 8"
    assert "6.35 times" in made.pictures[2][1]


def test_a_page_says_whose_pictures_they_are_and_by_what() -> None:
    report = changed(FINETUNED.report, examples=(example(),))
    text = " ".join(" ".join(Parsed(page(run(Row(network="n", report=report)))).texts).split())
    assert "n PGD-20, ε = 20/255 3 classified as 8" in text
