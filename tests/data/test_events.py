"""Recordings of event cameras: what a file says is what frames count, and a damaged file is named in a line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from real import REAL
from robustsnn.data.events import Events, read_nmnist, read_npz

SIZE = (5, 7)
recordings = st.lists(
    st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 6), st.integers(0, 4), st.integers(0, 1)), max_size=60
).map(lambda events: Events(*np.array(sorted(events), dtype=np.int64).reshape(-1, 4).T))


def written(events):
    """The recording as N-MNIST's files hold it."""
    rows = zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True)
    return b"".join(bytes((x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255)) for t, x, y, p in rows)


@given(recordings, st.integers(1, 9), st.sampled_from(["time", "count"]))
def test_frames_count_every_event_once_where_it_is(events, steps, by):
    frames = events.frames(steps, SIZE, by, clip=255)
    assert frames.shape == (steps, 2, *SIZE)
    expected = np.zeros((2, *SIZE), dtype=int)
    for x, y, p in zip(events.x, events.y, events.p, strict=True):
        expected[p, y, x] += 1
    assert (frames.sum(0) == expected).all()
    assert (events.frames(steps, SIZE, by) == frames.clip(max=1)).all()


@given(recordings, st.integers(1, 9))
def test_bins_are_of_equal_time_or_of_equal_count(events, steps):
    by_count = events.frames(steps, SIZE, "count", clip=255).sum((1, 2, 3))
    assert int(by_count.max()) - int(by_count.min()) <= 1
    by_time = events.frames(steps, SIZE, "time", clip=255).sum((1, 2, 3))
    if len(events):
        width = (int(events.t[-1]) - int(events.t[0]) + 1) / steps
        expected = [int((t - int(events.t[0])) / width) for t in events.t.tolist()]
        assert by_time.tolist() == np.bincount(expected, minlength=steps).tolist()


@given(recordings.filter(len))
def test_a_file_of_nmnist_comes_back(tmp_path_factory, events):
    file = tmp_path_factory.mktemp("nmnist") / "00001.bin"
    file.write_bytes(written(events))
    again = read_nmnist(file)
    for name, values in vars(events).items():
        assert (getattr(again, name) == values).all()


def test_npz_files_hold_recordings_or_frames(tmp_path):
    np.savez(tmp_path / "events.npz", t=[5, 9], x=[1, 2], y=[0, 3], p=np.array([True, False]))
    events = read_npz(tmp_path / "events.npz")
    assert events.frames(2, SIZE).sum() == 2
    frames = np.zeros((4, 2, 5, 7), dtype=np.float32)
    np.savez(tmp_path / "frames.npz", frames=frames)
    assert (read_npz(tmp_path / "frames.npz") == frames).all()


def test_what_is_wrong_with_a_file_is_one_line(tmp_path):
    cut, empty, npz = tmp_path / "cut.bin", tmp_path / "empty.bin", tmp_path / "a.npz"
    cut.write_bytes(bytes(7))
    empty.write_bytes(b"")
    for file, line in (
        (cut, "has 7 bytes, not five per event"),
        (empty, "has 0 bytes"),
        (tmp_path / "none.bin", "cannot read"),
    ):
        with pytest.raises(ValueError, match=line):
            read_nmnist(file)
    backwards = bytes((0, 0, 0, 0, 9)) + bytes((0, 0, 0, 0, 3))
    cut.write_bytes(backwards)
    with pytest.raises(ValueError, match=r"cut\.bin: time runs backwards at event 1"):
        read_nmnist(cut)
    for arrays, line in (
        ({"t": [1], "x": [0], "y": [0]}, "no array 'p'"),
        ({"t": [1], "x": [0], "y": [0], "p": [2]}, "polarities must be 0 or 1"),
        ({"t": [1, 2], "x": [0], "y": [0], "p": [1]}, "one entry per event"),
        ({"t": ["now"], "x": [0], "y": [0], "p": [1]}, r"a\.npz: "),
    ):
        np.savez(npz, **arrays)
        with pytest.raises(ValueError, match=line):
            read_npz(npz)
    npz.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ValueError, match=r"damaged or not an \.npz file"):
        read_npz(npz)
    np.savez(npz, t=np.array([{}], dtype=object), x=[0], y=[0], p=[1])
    with pytest.raises(ValueError, match=r"damaged or not an \.npz file"):
        read_npz(npz)  # unpickling could run code


@pytest.mark.usefixtures("unchecked")
def test_events_outside_the_sensor_and_impossible_frames_are_refused():
    events = Events(*np.array([[0, 6, 4, 1], [1, 7, 0, 0]]).T)
    with pytest.raises(ValueError, match="event 1 is at x = 7, y = 0, outside a sensor of 5 rows and 7 columns"):
        events.frames(2, SIZE)
    for steps, clip, by in ((0, 1, "time"), (2, 0, "time"), (2, 256, "time"), (2, 1, "size")):
        with pytest.raises(ValueError, match="frames need steps >= 1"):
            events.frames(steps, (8, 8), by, clip)


def test_real_recordings_are_read():
    if not (REAL / "nmnist").is_dir():
        pytest.skip(f"no nmnist/Test/*/*.bin in {REAL}; ROBUSTSNN_DATA names the folder")
    events = read_nmnist(min((REAL / "nmnist/Test/3").glob("*.bin")))
    frames = events.frames(8, (34, 34), clip=255)
    assert frames.sum() == len(events) > 1000
    assert 250_000 < events.t[-1] - events.t[0] < 350_000
