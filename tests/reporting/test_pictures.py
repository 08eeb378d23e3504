"""Examples as pictures: files that another library reads, and a difference that is as large as it says."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_html_page import FINETUNED, Parsed, example, run

from composed import changed
from robustsnn.evaluation import Example
from robustsnn.reporting import Row, event_pictures, page
from robustsnn.reporting.event_pictures import BACKGROUND, COLOURS, LARGEST, UNCHANGED, of_events
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


def recording(before: np.ndarray, after: np.ndarray, **fields: object) -> Example:
    contents = {"original": before, "adversarial": after}
    coded = {name: base64.b64encode(frames.astype(np.uint8).tobytes()) for name, frames in contents.items()}
    return example(before.shape, **({"counts": True, "threat": "Flips", "eps": 3} | coded | fields))


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def rgba(index: int, opacity: int = 255) -> tuple[int, ...]:
    return *bytes.fromhex(COLOURS[index][1:]), opacity


def test_event_frames_are_a_strip_with_both_polarities_and_what_was_flipped() -> None:
    before, after = np.zeros((2, 3, 2, 4, 4))
    before[0, 0, 0, 0] = before[0, 1, 1, 1] = before[2, 1, 3, 3] = 1
    after[0, 0, 0, 0] = after[2, 1, 3, 3] = after[1, 0, 2, 0] = 1  # one removed, one added
    made = triple(recording(before, after))
    strip, _, changes = (np.asarray(opened(address)) for address, _ in made.pictures)
    cell, gap = 5, 4
    wide = 4 * cell + gap

    def square(image: np.ndarray, t: int, row: int, column: int) -> np.ndarray:
        return image[row * cell : (row + 1) * cell, t * wide + column * cell : t * wide + (column + 1) * cell]

    assert strip.shape == (4 * cell, 3 * wide - gap, 4)
    assert (square(strip, 0, 0, 0) == rgba(0)).all()
    assert (square(strip, 0, 1, 1) == rgba(1)).all()
    assert (square(strip, 1, 1, 1)[..., 3] == BACKGROUND).all()
    assert (square(changes, 2, 3, 3)[..., 3] == UNCHANGED).all()
    assert (square(changes, 1, 2, 0) == rgba(0)).all()
    removed = square(changes, 0, 1, 1)
    assert (removed[0] == rgba(1)).all()
    assert (removed[1:-1, 1:-1, 3] == BACKGROUND).all()
    assert made.source == "1 added, 1 removed, of 3 events; sample 7, Rate()"
    assert made.pictures[2][1] == "The changed events: 1 added, 1 removed, of 3 events"


@pytest.mark.parametrize("shape", [(8, 2, 34, 34), (20, 1, 12, 9), (2, 6, 6)])
def test_the_animation_shows_every_frame_and_is_small(shape: tuple[int, ...]) -> None:
    drawn = np.random.default_rng(0).random((2, *shape)) < 0.2
    made = triple(recording(*drawn))
    assert made.moving is not None
    moving = opened(made.moving[0])
    frames = shape[0] if len(shape) == 4 else 1
    assert getattr(moving, "n_frames", 1) == frames
    assert len(base64.b64decode(made.moving[0].partition(",")[2])) <= LARGEST
    seen = []
    for place in range(frames):
        moving.seek(place)
        seen.append(moving.convert("RGBA").tobytes())
    assert len(set(seen)) == frames  # not one that was drawn over another
    assert triple(recording(*drawn)) == made


def test_an_animation_that_would_be_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_pictures, "LARGEST", 1000)
    made = triple(recording(*(np.random.default_rng(0).random((2, 9, 2, 64, 6)) < 0.3)))
    assert made.moving is None
    assert opened(made.pictures[0][0]).size == (8 * 6 * 3 + 7 * 4, 2 * 64 * 3 + 4)  # two lines of eight frames


def test_counts_grow_darker_and_other_samples_stay_pictures() -> None:
    before = np.zeros((1, 2, 2, 2))
    before[0, 1] = [[0, 1], [2, 4]]
    strip = np.asarray(opened(triple(recording(before, before)).pictures[0][0]))[::5, ::5, 3]
    assert strip.tolist() == [[BACKGROUND, 128], [180, 255]]
    assert of_events(recording(before, before, counts=False))  # reports from before counts
    assert not of_events(example((3, 4, 4)))
    assert not of_events(example((5, 3, 4, 4)))
    many = np.zeros((3, 4, 4))
    many[0] = 2
    assert opened(triple(recording(many, many)).pictures[0][0]).getpixel((0, 0)) == (255, 0, 0)
