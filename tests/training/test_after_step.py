"""What acts after an optimiser step: the floor of thresholds, the retraction of weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from robustsnn.models import create
from robustsnn.models.resnets import Mix
from robustsnn.seeds import generator
from robustsnn.training import CatastrophicOverfitting, LeakRange, Retraction, ThresholdFloor


def spread(weight):
    """How far the rows are from orthonormal."""
    rows = weight.flatten(1)
    return (rows @ rows.T - torch.eye(len(rows))).norm().item()


def test_retraction_makes_rows_more_orthogonal_step_by_step():
    linear = nn.Linear(12, 5)
    nn.init.normal_(linear.weight, std=0.2, generator=generator(0, "test"))
    history = [spread(linear.weight)]
    for _ in range(200):
        Retraction(beta=0.05)(linear)
        history.append(spread(linear.weight))
    assert all(after <= before + 1e-6 for before, after in itertools.pairwise(history))
    assert history[-1] < 0.05 * history[0]


def test_retraction_is_its_formula_on_every_layer_of_weights():
    net = create("resnet20", 4, 8, width=0.25)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Retraction(beta=3e-3)(net)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            w = before[f"{name}.weight"].flatten(1)
            torch.testing.assert_close(module.weight.detach().flatten(1), (1 + 3e-3) * w - 3e-3 * w @ w.T @ w)
    untouched = [name for name in before if "bn" in name or name.endswith(".bias")]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in untouched)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((0.3, 0.5), (0.3, 0.5)), ((0.8, 0.6), (0.6, 0.4)), ((1.7, 0.2), (1.0, 0.0)), ((-0.2, 0.4), (0.0, 0.4))],
)
def test_mixing_weights_are_projected_to_shares(weights, expected):
    mix = Mix()
    with torch.no_grad():
        mix.comb.copy_(torch.tensor(weights))
    Retraction()(mix)
    torch.testing.assert_close(mix.comb.detach(), torch.tensor(expected))


@pytest.mark.parametrize(
    ("spelled", "line"),
    [
        (lambda: Retraction(beta=0), "beta of Retraction"),
        (lambda: ThresholdFloor(0), "floor of ThresholdFloor"),
        (lambda: ThresholdFloor(float("nan")), "floor of ThresholdFloor"),
        (lambda: LeakRange(lowest=5), "lowest of LeakRange"),
        (lambda: LeakRange(lowest=0), "lowest of LeakRange"),
        (lambda: CatastrophicOverfitting(drop=-0.1), "drop"),
        (lambda: CatastrophicOverfitting(drop=1.5), "drop"),
    ],
)
def test_a_value_out_of_range_is_refused(spelled, line):
    with pytest.raises(ValueError, match=line):
        spelled()


@pytest.mark.parametrize("trained", [True, False])
def test_the_floor_lifts_trained_thresholds_and_leaves_fixed_ones(trained, net):
    name, threshold = next(iter(net.thresholds.items()))
    low = net.replace({name: 0.01})
    low.thresholds[name].requires_grad_(trained)
    ThresholdFloor(0.03)(low)
    assert low.thresholds[name].item() == pytest.approx(0.03 if trained else 0.01)
    assert threshold.item() == 0.5
