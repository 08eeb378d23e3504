"""A recipe in words."""

from __future__ import annotations

from robustsnn.recipes import load_recipe, plan
from robustsnn.recipes.recipe import from_table, merged


def test_every_network_of_a_run_has_a_line_with_what_is_done_to_it():
    recipe = load_recipe("cifar10-small")
    changed = merged(recipe.table(), {"prune": {"sparsity": 0.9, "epochs": 4}, "compare": ["end_to_end", "snn_rat"]})
    images, robust, end_to_end, snn_rat, measured = plan(from_table(changed, "test"))
    assert images == "cifar10-small: cifar10, at most 11200 samples, seed 0"
    assert robust == (
        "robust: ANN vgg by Trades(beta=6, eps=2/255, steps=5), 20 epochs; 0.9 of the weights removed, 4 epochs; "
        "SNN, T = 4, thresholds 0.3 x calibrated; finetuned by RobustFinetuning(eps=2/255, alpha=1/255, beta=2), 8 epochs"
    )
    assert end_to_end.startswith("end_to_end: ANN vgg, random weights; SNN, T = 4, thresholds 1; finetuned by ")
    assert snn_rat.endswith("by FastAdversarial(eps=2/255), 22 epochs, Retraction(beta=2e-3)")
    assert measured == "measured: paper (FGSM, PGD-20), eps 2/255, 4/255, 8/255, at most 500 samples"


def test_what_is_not_done_is_said_too():
    changes = {"weights": "ann.pth", "finetune": {"epochs": 0}, "evaluation": {"attacks": (), "protocol": "quick"}}
    recipe = from_table(merged(load_recipe("digits").table(), changes), "test")
    assert plan(recipe, "mine")[1].startswith("mine: ANN digits, weights of ann.pth; ")
    assert plan(recipe, "mine")[1].endswith("; not finetuned")
    assert plan(recipe)[-1] == "measured: quick (FGSM, PGD-10, strong), eps 0.075, 0.15"
