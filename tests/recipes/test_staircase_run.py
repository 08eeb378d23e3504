"""A run whose ANN climbs a staircase before neurons do: what is made of what, and what does not fit together."""

import pytest
import torch

from robustsnn import checkpoint
from robustsnn.cli import main
from robustsnn.models import QCFS
from robustsnn.recipes import load_recipe, run_all
from robustsnn.recipes.recipe import from_table, merged
from robustsnn.recipes.working import Run

SMALL = {
    "name": "small", "timesteps": 3, "data": {"limit": 60}, "model": {"width": 0.25},
    "neurons": {"reset": "subtract", "start": 0.5},
    "pretrain": {"objective": "Natural()", "epochs": 1, "lr": 0.01},
    "staircase": {"objective": "Natural()", "epochs": 1, "lr": 0.01},
    "conversion": {"scale": 1.0, "batch_norm": "keep", "batches": 1},
    "finetune": {"objective": "Distilled(teacher='ann', eps=0.1, steps=1)", "epochs": 1, "lr": 0.01, "probe": ""},
}  # fmt: skip


def changed(**keys):
    return from_table(merged(SMALL, keys), "test")


def test_the_staircase_becomes_the_neurons(tmp_path):
    run = Run(changed(), tmp_path)
    run_all(run, "finetune")
    climbing, spikes = (checkpoint.load(tmp_path / f"{name}.safetensors") for name in ("staircase", "converted"))
    steps = {name: module for name, module in climbing.named_modules() if isinstance(module, QCFS)}
    assert {name: module.levels for name, module in steps.items()} == dict.fromkeys(spikes.thresholds, 3)
    assert all(torch.equal(steps[name].lifted, threshold) for name, threshold in spikes.thresholds.items())
    assert (tmp_path / "snn.safetensors").exists()
    written = (tmp_path / "staircase.safetensors").stat().st_mtime_ns
    run_all(Run(changed(), tmp_path), "staircase")
    assert (tmp_path / "staircase.safetensors").stat().st_mtime_ns == written
    flags = ("--protocol", "quick", "--attacks", "FGSM", "--eps", "0.1", "--limit", "4", "--audit-images", "0")
    assert main(["evaluate", str(tmp_path / "staircase.safetensors"), *flags]) == 0, "it is an ANN like any other"


def test_without_epochs_there_is_none(tmp_path):
    run = Run(changed(staircase={"epochs": 0}), tmp_path)
    run_all(run, "staircase")
    assert not (tmp_path / "staircase.safetensors").exists()


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"neurons": {"reset": "zero"}}, "neurons.reset"),
        ({"neurons": {"start": 0.0}}, "neurons.start"),
        ({"conversion": {"scale": 0.3}}, "conversion.scale"),
        ({"conversion": {"batch_norm": "reestimate"}}, "conversion.batch_norm"),
        ({"pretrain": {"epochs": 0}}, "trained ANN"),
    ],
)
def test_what_neurons_could_not_climb_is_refused(keys, what):
    with pytest.raises(ValueError, match=what):
        changed(**keys)


def test_its_own_recipe_says_so_in_its_plan():
    recipe = load_recipe("cifar10-robust")
    assert recipe.levels == recipe.timesteps == 8
    assert recipe.baseline("end_to_end").staircase.epochs == 0
