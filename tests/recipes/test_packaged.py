"""Every packaged recipe builds its network and goes through every stage, shrunk by flags only, on images made here."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from robustsnn.cli import main
from robustsnn.data.sources import HERE
from robustsnn.recipes import load_recipe, packaged
from robustsnn.reporting import read_report

pytestmark = pytest.mark.usefixtures("unchecked")

SHRUNK = {
    "data.limit": 60, "data.validation": 0.2, "model.width": 0.05, "timesteps": 2,
    "conversion.timesteps": 3, "conversion.batches": 1, "conversion.batch": 6,
    "staircase.epochs": 1, "staircase.batch": 16,
    "pretrain.epochs": 1, "pretrain.batch": 16, "pretrain.lr": 0.001, "finetune.epochs": 1, "finetune.batch": 16,
    "evaluation.audit_images": 0,
    "evaluation.limit": 4, "evaluation.protocol": "quick", "evaluation.attacks": "FGSM", "evaluation.eps": "8/255",
}  # fmt: skip


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Parquet files of noise in the place of every data set."""
    datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv(HERE, str(tmp_path))
    rng = torch.Generator().manual_seed(0)

    def write(name, size):
        for part, count in (("train", 60), ("test", 8)):
            rows = []
            for _ in range(count):
                file = io.BytesIO()
                pixels = torch.randint(256, (size, size, 3), generator=rng).to(torch.uint8)
                Image.fromarray(pixels.numpy()).save(file, format="PNG")
                rows.append({"bytes": file.getvalue(), "path": None})
            (tmp_path / name).mkdir(exist_ok=True)
            label = "fine_label" if name == "cifar100" else "label"
            table = datasets.Dataset.from_dict({"image": rows, label: [i % 4 for i in range(count)]})
            table.cast_column("image", datasets.Image()).to_parquet(tmp_path / name / f"{part}.parquet")

    return write


EVENTS = ("digits-events", "nmnist")
NAMES = [name for name in packaged() if name not in ("digits", *EVENTS)]
BASELINES = [f"cifar10-small:{name}" for name in load_recipe("cifar10-small").baselines if name != "natural"]


def flags(recipe, changes):
    """Flags that change a recipe; stages that it skips stay skipped."""
    skipped = [f"{stage}.epochs" for stage in ("pretrain", "staircase", "finetune") if not getattr(recipe, stage).epochs]
    return [word for key, value in changes.items() if key not in skipped for word in (f"--{key}", str(value))]


@pytest.mark.parametrize("name", NAMES + BASELINES)
def test_a_packaged_recipe_trains_and_evaluates(name, images, tmp_path, capsys):
    recipe = load_recipe(name)
    images(recipe.data.name, 64 if recipe.data.name == "tinyimagenet" else 32)
    capsys.readouterr()
    code = main(["run", name, "--out", str(tmp_path / "run"), *flags(recipe, SHRUNK)])
    assert (code, capsys.readouterr().err) == (0, "")
    report = read_report((tmp_path / "run/report.json").read_bytes(), name)
    assert [row.report.images for row in report.rows] == [4] * (3 + bool(recipe.staircase.epochs) + len(recipe.compare or ()))


@pytest.mark.parametrize("name", EVENTS)
def test_a_recipe_for_events_trains_and_evaluates(name, tmp_path, monkeypatch, capsys):
    rng, recipe = np.random.default_rng(0), load_recipe(name)
    for label in range(10):
        (tmp_path / f"nmnist/Train/{label}").mkdir(parents=True)
        for number in range(8):
            raw = rng.integers(0, 34, (300, 5), dtype=np.uint8)
            raw[:, 2:] = np.sort(np.arange(300, dtype=">u4")).view(np.uint8).reshape(300, 4)[:, 1:]
            (tmp_path / f"nmnist/Train/{label}/{number}.bin").write_bytes(raw.tobytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(HERE, str(tmp_path))
    shrunk = SHRUNK | {"timesteps": 8, "evaluation.protocol": "events", "evaluation.eps": "0.01", "evaluation.limit": 1}
    del shrunk["evaluation.attacks"]
    until = "convert" if name == "nmnist" else "report"  # whose frames are large
    code = main(["run", name, "--until", until, "--out", str(tmp_path / "run"), *flags(recipe, shrunk)])
    assert (code, capsys.readouterr().err) == (0, "")
    if until == "report":
        report = read_report((tmp_path / "run/report.json").read_bytes(), name)
        assert {row.report.threat for row in report.rows} == {"Flips"}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.startswith(("cifar10-small", "cifar10-robust", "digits-"))]
)
def test_a_published_recipe_has_the_published_constants(name):
    recipe = load_recipe(name)
    training = ("epochs", "batch", "lr", "momentum", "weight_decay")
    assert [getattr(recipe.pretrain, key) for key in training] == [200, 64, 0.1, 0.9, 5e-4]
    assert [getattr(recipe.finetune, key) for key in training] == [60, 64, 0.001, 0.9, 1e-3]
    assert (recipe.conversion.scale, recipe.conversion.percentile, recipe.conversion.timesteps) == (0.3, 99.7, 100)
    assert (recipe.timesteps, recipe.finetune.threshold_floor, recipe.finetune.cutout) == (8, 0.03, 0)
