"""A recipe on frames: one ANN of their mean, a spiking network of each."""

from dataclasses import replace

import pytest
import torch

from robustsnn.checkpoint import load, read_header
from robustsnn.data import DATASETS, Augment, Dataset, Samples
from robustsnn.deploy.exporting import _shape
from robustsnn.recipes import run_all
from robustsnn.recipes.recipe import from_table
from robustsnn.recipes.working import Run
from robustsnn.reporting import summary
from robustsnn.seeds import generator
from robustsnn.spiking import Frames

pytestmark = pytest.mark.usefixtures("unchecked")

STEPS = 3
PARTS = "train", "test"
NATURAL = {"objective": "Natural()", "epochs": 1, "batch": 16, "probe": ""}
RECIPE = {
    "name": "frames",
    "timesteps": STEPS,
    "data": {"name": "frames", "validation": 0.25, "pad": 1},
    "model": {"width": 0.25},
    "pretrain": NATURAL | {"cutout": 2},
    "finetune": NATURAL,
    "conversion": {"batches": 1},
    "evaluation": {"protocol": "quick", "attacks": ["FGSM"], "eps": [0.1], "audit_images": 0},
}


@pytest.fixture(autouse=True)
def frames(monkeypatch):
    drawn = torch.rand(40, STEPS, 2, 8, 8, generator=generator(0, "test images"))
    counts = (3 * drawn).to(torch.uint8)
    parts = [Samples(counts[part], torch.arange(40)[part] % 4, 4, counts=True) for part in (slice(32), slice(32, 40))]
    data = Dataset("frames", *parts, mean=(1.0, 1.0), std=(0.8, 0.8))
    monkeypatch.setitem(DATASETS, "frames", lambda: data)
    return data


def test_data_with_time_have_frames_and_channels(frames):
    assert (frames.timesteps, frames.channels, frames.size) == (STEPS, 2, 8)
    assert DATASETS["digits"]().timesteps is None


@pytest.mark.parametrize("conversion", [{}, {"threshold": 1.0}])
def test_a_recipe_on_counts_runs_and_keeps_time(tmp_path, frames, conversion):
    run_all(Run(from_table(RECIPE | {"conversion": {"batches": 1} | conversion}, "test"), tmp_path), until="finetune")
    ann, snn = (load(tmp_path / f"{name}.safetensors") for name in ("ann", "snn"))
    x, _ = frames.test.batch(torch.arange(3))
    assert ann(x).shape == snn(x).shape == (3, 4)
    assert snn.signal == Frames()
    assert _shape(read_header(tmp_path / "snn.safetensors")) == (STEPS, 2, 8, 8)


def test_the_report_says_what_the_data_are(tmp_path, frames, monkeypatch):
    binary = {part: replace(getattr(frames, part), values=getattr(frames, part).values.clamp(max=1)) for part in PARTS}
    monkeypatch.setitem(DATASETS, "frames", lambda: replace(frames, note="simulated", **binary))
    recipe = from_table(RECIPE | {"finetune": {"epochs": 0}, "evaluation": RECIPE["evaluation"] | {"limit": 2}}, "test")
    report = run_all(Run(recipe, tmp_path), until="evaluate")
    assert report.note == "simulated"
    assert " Data: simulated." in summary(report)


def test_other_time_steps_than_the_data_s_are_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="3 frames per sample: set timesteps to it, not to 8"):
        run_all(Run(from_table(RECIPE | {"timesteps": 8}, "test"), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_all_frames_of_a_sample_are_augmented_alike():
    image = torch.rand(5, 2, 8, 8, generator=generator(0, "test images"))
    augment = Augment(pad=2, flip=True, cutout=3, fill=(0.1, 0.2))
    changed = augment(image[:, None].expand(-1, STEPS, -1, -1, -1), generator(1, "test"))
    expected = augment(image, generator(1, "test"))
    assert all(changed[:, step].equal(expected) for step in range(STEPS))
