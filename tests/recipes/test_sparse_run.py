"""A run that prunes: what is removed from the ANN stays removed to the end, and the report counts what is left."""

import pytest
import torch

from robustsnn import load
from robustsnn.evaluation.measures.layers import stored_weights
from robustsnn.recipes import Listener, load_recipe, run_all
from robustsnn.recipes.recipe import from_table, merged
from robustsnn.recipes.working import Run

pytestmark = pytest.mark.usefixtures("unchecked")

TINY = {
    "compare": [], "timesteps": 2, "data": {"limit": 80}, "model": {"width": 0.5}, "prune": {"sparsity": 0.75, "epochs": 1},
    "pretrain": {"epochs": 1, "probe": ""}, "finetune": {"epochs": 1, "probe": ""},
    "conversion": {"timesteps": 5, "batches": 1},
    "evaluation": {"limit": 10, "protocol": "quick", "attacks": ["FGSM"], "audit_images": 0},
}  # fmt: skip


def test_the_mask_of_the_pruned_ann_is_that_of_the_finetuned_network(tmp_path):
    recipe = from_table(merged(load_recipe("digits").table(), TINY), "test")
    report = run_all(Run(recipe, tmp_path))
    pruned, snn = load(tmp_path / "pruned.safetensors"), load(tmp_path / "snn.safetensors")
    stored, count = stored_weights(snn)
    assert stored == count - round(0.75 * count)
    for name, weight in pruned.named_parameters():
        if weight.dim() > 1:
            assert torch.equal(weight == 0, snn.get_parameter(f"body.{name}") == 0), name
    rows = {row.network: row.report.measured["layers"].weights for row in report.rows}
    assert rows["robust ANN"] == (count, count)
    assert [rows[f"robust {kind}"] for kind in ("ANN, pruned", "SNN, converted", "SNN, finetuned")] == [(stored, count)] * 3
    assert f"{stored:,} of {count:,}" in (tmp_path / "report.md").read_text()
    assert set(report.curves) == {"robust pretrain", "robust prune", "robust finetune"}


def test_a_baseline_from_random_weights_is_neither_pruned_nor_trained_before_conversion(tmp_path):
    changes = {
        "compare": ["end_to_end"],
        "baselines": {"end_to_end": {"pretrain": {"epochs": 0}, "conversion": {"threshold": 1.0}}},
    }
    recipe, lines = from_table(merged(load_recipe("digits").table(), TINY | changes), "test"), []
    run = Run(recipe, tmp_path, Listener(lines.append))
    run_all(run, "convert")
    start, converted = load(tmp_path / "end_to_end/ann.safetensors"), load(tmp_path / "end_to_end/converted.safetensors")
    assert all(torch.equal(weight, converted.get_parameter(f"body.{name}")) for name, weight in start.named_parameters())
    assert not (tmp_path / "end_to_end/pruned.safetensors").exists()
    assert "end_to_end: stage 'prune' does not apply" in lines
    assert recipe.baseline("end_to_end").prune.epochs == 1


@pytest.mark.parametrize(
    "change",
    [{"pretrain": {"epochs": 0}}, {"baselines": {"sparse": {"pretrain": {"epochs": 0}, "prune": {"sparsity": 0.5}}}}],
    ids=["run", "baseline"],
)
def test_random_weights_that_shall_be_pruned_are_refused(change):
    with pytest.raises(ValueError, match=r"prune\.sparsity needs a trained ANN: set weights or pretrain\.epochs"):
        from_table(merged(merged(load_recipe("digits").table(), TINY), change), "test")
