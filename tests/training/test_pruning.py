"""Pruning removes the smallest weights of all layers together, and what is removed stays so."""

import pytest
import torch
from torch import nn

from robustsnn.checkpoint import load, read_header, save
from robustsnn.conversion import convert
from robustsnn.data import digits
from robustsnn.evaluation.measures.layers import stored_weights
from robustsnn.models import create
from robustsnn.spiking import Dynamics
from robustsnn.training import KeepZeros, Natural, RobustFinetuning, Schedule, ThresholdFloor, prune, train


def test_the_smallest_weights_of_all_layers_together_become_zero():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.1, -0.2], [3.0, 0.05]]))
        net[2].weight.copy_(torch.tensor([[-0.15, 1.0]]))
        net[2].bias.fill_(0.01)
    prune(net, 0.5)
    assert net[0].weight.tolist() == [[0.0, pytest.approx(-0.2)], [3.0, 0.0]]
    assert net[2].weight.tolist() == [[0.0, 1.0]]
    assert net[2].bias.item() == pytest.approx(0.01)
    assert stored_weights(net) == (3, 6)


def test_equal_weights_are_pruned_to_the_very_share():
    net = nn.Linear(10, 10)
    nn.init.ones_(net.weight)
    prune(net, 0.37)
    assert stored_weights(net) == (63, 100)


@pytest.mark.parametrize("change", ["train", "prune"])
def test_what_was_changed_by_hand_does_not_tell_how_the_original_was_made(change, tmp_path):
    net = load("zoo:digits-robust")
    assert {"pretrain", "finetune", "conversion"} <= net.recipe.keys()
    if change == "prune":
        prune(net, 0.5)
    else:
        few = digits().train.first(4)
        train(net, few, few, Natural(), Schedule(epochs=1, lr=0.01, batch=4), probe=None)
    assert {"model", "data"} <= net.recipe.keys() <= {"name", "data", "model", "ann", "evaluation"}
    save(tmp_path / "net.safetensors", net)
    assert read_header(tmp_path / "net.safetensors").recipe == net.recipe


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(sparsity):
    with pytest.raises(ValueError, match="sparsity"):
        prune(nn.Linear(2, 2), sparsity)


def test_nothing_to_prune_is_refused():
    with pytest.raises(ValueError, match="no convolution or linear layer"):
        prune(nn.ReLU(), 0.5)


def test_the_mask_holds_after_training_conversion_and_finetuning():
    net = create("digits", classes=10, size=8, channels=1, width=0.25)
    prune(net, 0.9)
    pruned = {name: layer.weight == 0 for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    once = Schedule(epochs=1, batch=32, lr=0.05)
    images, validation = digits().train.first(96), digits().test.first(20)
    train(net, images, validation, Natural(), once, probe=None, after_step=[KeepZeros.of(net)])
    snn = convert(net, [images.batch(torch.arange(32))[0]], Dynamics(2), calibration_timesteps=4)
    before = stored_weights(snn)
    acts = [ThresholdFloor(0.03), KeepZeros.of(snn)]
    train(snn, images, validation, RobustFinetuning(eps=0.1, alpha=0.05), once, probe=None, after_step=acts)
    assert stored_weights(snn) == before == stored_weights(net)
    assert before[0] == round(0.1 * before[1])
    assert all((snn.body.get_submodule(name).weight[mask] == 0).all() for name, mask in pruned.items())
