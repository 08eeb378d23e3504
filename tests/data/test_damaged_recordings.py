"""Damaged recordings: whatever bytes a file holds, it is read, or named in one line."""

import io
import random
import warnings

import numpy as np
import pytest

from robustsnn.data.events import Events
from robustsnn.data.recordings import NMNIST, _frames, _side

COUNT = 1000
"""Damaged files of each kind."""


def recording():
    """A recording in the format of N-MNIST."""
    t = np.arange(40) * 7000
    x, y, p = np.arange(40) % 34, np.arange(40) * 3 % 34, np.arange(40) % 2
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


def archive(compressed, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


EVENTS = {"t": np.arange(20), "x": np.arange(20) % 7, "y": np.arange(20) % 5, "p": np.arange(20) % 2}
FILES = {
    "bin": [recording()],
    "npz": [archive(False, **EVENTS), archive(True, **EVENTS), archive(True, frames=np.ones((3, 2, 4, 4), np.float32))],
}


def damaged(content, rng):
    """Return the bytes with one of: the end cut off, some changed, some added, some repeated."""
    content, kind = bytearray(content), rng.randrange(4)
    place = rng.randrange(len(content))
    if kind == 0:
        return bytes(content[:place])
    if kind == 1:
        for _ in range(rng.randrange(1, 9)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 2:
        content[place:place] = rng.randbytes(rng.randrange(1, 30))
    else:
        content += content[place:]
    return bytes(content)


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_read_or_named_in_a_line(tmp_path, kind):
    rng, path, read = random.Random(0), tmp_path / f"file.{kind}", 0
    with path.open("wb", buffering=0) as file:  # opening it for every damage takes most of the time
        for number in range(COUNT):
            file.seek(0)
            file.truncate(file.write(damaged(FILES[kind][number % len(FILES[kind])], rng)))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    frames = _frames(path, 2, NMNIST if kind == "bin" else _side([path]))
                assert frames.dtype == np.uint8
                assert frames.ndim == 4
                read += 1
            except ValueError as error:
                line = str(error)
                assert str(path) in line
                assert "\n" not in line
                assert len(line) < 500
    assert 0 < read < COUNT


@pytest.mark.parametrize("kind", [np.uint64, np.int8, np.float16, np.float64, bool])
def test_recordings_of_any_kind_of_number(tmp_path, kind):
    path = tmp_path / "file.npz"
    np.savez(path, **{name: np.array([0, 1]).astype(kind) for name in "txyp"})
    assert _frames(path, 2, 2).sum() == 2


def test_what_cannot_be_events_is_named(tmp_path):
    path = tmp_path / "file.npz"
    for wrong in (np.array([np.nan]), np.array([np.inf]), np.array([2**63], dtype=np.uint64), np.zeros((1, 1)), np.array(1j)):
        np.savez(path, t=wrong, x=[0], y=[0], p=[1])
        with pytest.raises(ValueError, match=str(path)):
            _frames(path, 2, 1)
    with pytest.raises(ValueError, match="flatten"):
        Events(*np.zeros((4, 1, 1), dtype=np.int64))
