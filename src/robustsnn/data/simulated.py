"""A simulated event camera that looks at scikit-learn's digits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robustsnn.data.samples import Dataset, Samples, split, statistics

STEPS, SENSOR, SCALE = 8, 20, 2
"""Frames per recording, pixels per side of the sensor, and sensor pixels per pixel of a digit."""
MOVES = 16
"""Moves of the camera along each side of the triangle."""
SIDES = ((2, 2), (2, -2), (-4, 0))
"""Motion per move along each side, to the right and down, in sixteenths of a sensor pixel."""
DARK, THRESHOLD = 0.2, 0.5
"""Intensity added before the logarithm (a stroke has 1), and the change of the logarithm that makes an event."""
NOTE = "simulated events: a simulated camera moved over scikit-learn's digits; no event camera recorded them"


def digits_events() -> Dataset:
    """Simulated events of scikit-learn's 1,797 digits: 8 binary frames of 2 polarities and 20x20 pixels; one quarter is for
    testing.

    A camera moves over every digit along a triangle, as that of N-MNIST did (Orchard et al. 2015). A pixel fires when the
    logarithm of its intensity has changed by a threshold since its last event. There is no noise. Digits and split are
    those of `digits`.
    """
    levels, labels = drawn()
    frames = torch.from_numpy(seen(levels))
    everything = Samples(frames, torch.from_numpy(labels), classes=10, counts=True)
    train, test = split(everything, held_out=0.25, seed=0)
    return Dataset("digits-events", train, test, *statistics(train), NOTE)


def drawn() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's digits ``[N, 8, 8]`` with levels 0 .. 16, and their labels. They are read from its file, since
    importing scikit-learn takes longer than evaluating a few of them."""
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    rows = np.loadtxt(Path(spec.origin).parent / "datasets/data/digits.csv.gz", np.float32, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def seen(digits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the frames ``[N, T, 2, H, W]`` that a moving camera makes of digits ``[N, 8, 8]`` with levels 0 .. 16.

    Only whole numbers are computed with, so the result is the same on every machine.
    """
    full = 16 * (16 * SCALE) ** 2  # the unit of intensities: what a white area has
    logs = np.rint(1000 * np.log(np.arange(full + 1) / full + DARK)).astype(np.int32)
    path = np.cumsum([(0, 0), *(side for side in SIDES for _ in range(MOVES))], axis=0) - (32, 16)
    views = [logs[(_bilinear(down) @ digits @ _bilinear(right).T).astype(np.int32)] for right, down in path]
    last, threshold = views[0], round(1000 * THRESHOLD)
    frames = np.zeros((len(digits), STEPS, 2, SENSOR, SENSOR), dtype=np.uint8)
    for move, now in enumerate(views[1:]):
        change = now - last
        fires = np.abs(change) // threshold
        last = last + np.sign(change) * fires * threshold
        step = move * STEPS // (len(views) - 1)
        frames[:, step, 0] |= (change < 0) & (fires > 0)
        frames[:, step, 1] |= (change > 0) & (fires > 0)
    return frames


def _bilinear(shift: int) -> NDArray[np.float32]:
    """Return how much each of 8 pixels of a digit weighs in each pixel of the sensor, in units of ``1 / (16 * SCALE)``, if the
    digit is shifted by sixteenths of a sensor pixel."""
    sensor = 16 * np.arange(SENSOR)[:, None] - shift - 8 * (SENSOR - 1)  # from the centre
    digit = 16 * SCALE * np.arange(8) - 8 * SCALE * 7
    weights: NDArray[np.float32] = np.maximum(0, 16 * SCALE - np.abs(sensor - digit)).astype(np.float32)
    return weights
