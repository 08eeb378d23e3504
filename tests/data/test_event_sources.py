"""Data sets of event cameras: simulated, N-MNIST's folders, and folders of anyone's recordings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from real import REAL
from robustsnn.data import check_name, digits, digits_events, load_dataset, whereabouts
from robustsnn.data import recordings as module
from robustsnn.data.decoded import HERE
from robustsnn.data.simulated import DARK, THRESHOLD, seen

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/robustsnn"


def recorded(count, seed, side=34):
    """The bytes of a recording in N-MNIST's format."""
    rng = np.random.default_rng(seed)
    t, x, y, p = np.sort(rng.integers(0, 300_000, count)), *rng.integers(0, side, (2, count)), rng.integers(0, 2, count)
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


def write(folder, parts=("Train", "Test"), classes=("0", "1"), each=5):
    for part in parts:
        for label, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for i in range(each):
                (folder / part / name / f"{i:05}.bin").write_bytes(recorded(50, 100 * label + i + len(part)))
    return folder


def pixel_events(levels):
    """A pixel's events as a loop over its intensities in ``[0, 1]``."""
    found, last = [], np.log(levels[0] + DARK)
    for level in levels[1:]:
        change = np.log(level + DARK) - last
        count = int(abs(change) / THRESHOLD + 1e-9)
        last += np.sign(change) * count * THRESHOLD
        found.append(int(np.sign(change)) if count else 0)
    return found


def test_a_simulated_pixel_fires_by_its_logarithm():
    edge = np.zeros((1, 8, 8), dtype=np.float32)
    edge[0, :, :4] = 16  # a wall on the left
    frames = seen(edge)[0]
    row = 10
    positions = [2 * move / 16 for move in range(17)] + [2 + 2 * move / 16 for move in range(1, 17)]
    positions += [4 - 4 * move / 16 for move in range(1, 17)]
    for column in range(2, 18):
        where = [(column - 9.5 - (right - 2)) / 2 + 3.5 for right in positions]
        levels = [float(np.interp(u, [-1, 0, 3, 4], [0, 1, 1, 0])) for u in where]
        events = pixel_events(levels)
        for step in range(8):
            mine = events[6 * step : 6 * step + 6]
            assert frames[step, 1, row, column] == (1 in mine)
            assert frames[step, 0, row, column] == (-1 in mine)
    assert frames[:, 1].sum() > 0 < frames[:, 0].sum()


def test_simulated_digits_are_those_of_the_images_and_the_same_every_time():
    events, images = digits_events(), digits()
    assert (events.name, events.timesteps, events.channels, events.size) == ("digits-events", 8, 2, 20)
    for part in ("train", "test"):
        mine, other = getattr(events, part), getattr(images, part)
        assert mine.labels.equal(other.labels)
        assert mine.counts
        assert mine.values.max() == 1
    assert events.train.digest().startswith("1d814681")
    assert "imulated" in digits_events.__doc__.partition("\n\n")[0]
    assert events.limited(5, 5).note.startswith("simulated events: ")
    assert len(events.mean) == len(events.std) == 2


def test_nmnist_is_read_from_its_folders_once(tmp_path, monkeypatch, cache):
    folder = write(tmp_path / "data/nmnist")
    monkeypatch.setenv(HERE, str(tmp_path / "data"))
    data = load_dataset("nmnist")
    assert data.train.values.shape == (10, 8, 2, 34, 34)
    assert data.test.labels.bincount().tolist() == [5, 5]
    assert whereabouts("nmnist") == str(folder)
    assert data.note == f"a subset of N-MNIST, {len(data.train) + len(data.test)} of its 70,000 recordings"
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]
    monkeypatch.setattr(module, "_decode", lambda *_: pytest.fail("decoded a second time"))
    assert load_dataset("nmnist").train.digest() == data.train.digest()


def test_without_a_test_part_a_fifth_is_for_testing(tmp_path, monkeypatch):
    write(tmp_path / "nmnist", parts=["Train"])
    monkeypatch.setenv(HERE, str(tmp_path))
    data = load_dataset("nmnist")
    assert data.train.labels.bincount().tolist() == [4, 4]
    assert data.test.labels.bincount().tolist() == [1, 1]


def test_a_missing_nmnist_is_said_with_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv(HERE, str(tmp_path))
    with pytest.raises(ValueError, match=rf"n-mnist, and put its folders Train and Test into {tmp_path}/nmnist"):
        load_dataset("nmnist")
    monkeypatch.delenv(HERE)
    with pytest.raises(ValueError, match=f"set {HERE} to the folder above it"):
        load_dataset("nmnist")
    assert whereabouts("nmnist") == ""


def test_damaged_recordings_are_named(tmp_path, monkeypatch):
    folder = write(tmp_path / "nmnist")
    monkeypatch.setenv(HERE, str(tmp_path))
    (folder / "Test/1/00002.bin").write_bytes(bytes((40, 3, 0, 0, 0)))
    with pytest.raises(ValueError, match=r"00002\.bin: event 0 is at x = 40, y = 3, outside a sensor of 34 rows"):
        load_dataset("nmnist")


def npz(folder, name="up", count=4, **arrays):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        given = arrays or {"t": np.arange(9), "x": np.arange(9), "y": np.full(9, i), "p": np.arange(9) % 2}
        np.savez(folder / name / f"{i}.npz", **given)


def test_a_folder_of_recordings_is_a_data_set(tmp_path):
    for part in ("train", "test"):
        for name in ("up", "down"):
            npz(tmp_path / "own" / part, name)
    name = f"{tmp_path}/own"
    data = load_dataset(name)
    assert (data.timesteps, data.channels, data.size, data.train.classes) == (8, 2, 9, 2)
    assert load_dataset(f"{name}?steps=3").timesteps == 3
    assert check_name(f"{name}?steps=3")
    with pytest.raises(ValueError, match=r"\?steps=16"):
        load_dataset(f"{name}?steps=none")


def test_frames_keep_their_number_and_their_counts(tmp_path):
    frames = (np.arange(5 * 2 * 6 * 6) % 4).reshape(5, 2, 6, 6).astype(np.float32)
    for name in ("up", "down"):
        npz(tmp_path / "own", name, count=5, frames=frames)
    data = load_dataset(f"{tmp_path}/own")
    assert data.timesteps == 5
    assert data.test.batch(torch.tensor([0]))[0][0].equal(torch.from_numpy(frames))


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"frames": np.zeros((2, 6, 6))}, r"frames \[2, 6, 6\] of float64: they must be"),
        ({"frames": np.full((2, 2, 6, 6), 0.5)}, "whole numbers"),
        ({"frames": np.zeros((3, 2, 6, 6))}, "make them alike"),
        ({"t": [1], "x": [5000], "y": [0], "p": [1]}, "1280 pixels per side at most"),
        ({"t": [1.5], "x": [0], "y": [0], "p": [1]}, "t must hold whole numbers"),
        ({"t": [2**60], "x": [0], "y": [0], "p": [1]}, "t holds numbers of"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, arrays, line):
    npz(tmp_path / "own", "down", count=1, frames=np.zeros((2, 2, 6, 6)))
    npz(tmp_path / "own", "up", count=1, **arrays)
    with pytest.raises(ValueError, match=line) as told:
        load_dataset(f"{tmp_path}/own")
    assert "0.npz" in str(told.value)


def test_classes_of_the_test_part_are_those_of_training(tmp_path):
    npz(tmp_path / "own/train")
    npz(tmp_path / "own/test", "other")
    with pytest.raises(ValueError, match=r"other is not a class"):
        load_dataset(f"{tmp_path}/own")


def test_real_recordings_are_frames():
    if not (REAL / "nmnist").is_dir():
        pytest.skip(f"no nmnist/Train/*/*.bin in {REAL}; {HERE} names the folder")
    few = Path(REAL / "nmnist")
    data = load_dataset(str(few))
    assert data.timesteps == 8
    assert data.size == 34
    assert 1000 < float(data.test.values.float().sum((1, 2, 3, 4)).mean()) < 3000
