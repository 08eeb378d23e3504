"""QCFS: the staircase, its gradient, and the exact conversion it is made for."""

import pytest
import torch
from torch import nn

from robustsnn.conversion import convert
from robustsnn.models import QCFS, create
from robustsnn.models.qcfs import _Stairs
from robustsnn.spiking import LIF, Dynamics, unrolled


def test_the_staircase_by_hand():
    x = torch.tensor([-1.0, 0.24, 0.26, 0.74, 0.76, 1.9, 2.1])
    assert QCFS(2, threshold=1.0)(x).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert QCFS(2, threshold=2.0)(x).tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0]


def test_the_gradient_passes_the_floor_and_stops_at_the_ends():
    x = torch.tensor([-1.0, 0.3, 0.6, 5.0], requires_grad=True)
    slot = QCFS(4, threshold=2.0)
    slot(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5, 0.0]
    assert slot.threshold.grad.item() == pytest.approx(-(0.3 + 0.6) / 4)


@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_it_is_the_rate_of_a_neuron_with_soft_reset_and_half_a_threshold(threshold):
    x = torch.linspace(-1, 4, 101)
    rate = unrolled(x.expand(8, -1), threshold, Dynamics(8, neuron=LIF(reset="subtract", start=0.5))).mean(0)
    assert torch.equal(rate, QCFS(8, threshold)(x))


def test_a_network_of_one_hidden_layer_converts_without_any_loss():
    ann = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), QCFS(4, 1.5), nn.Flatten(), nn.Linear(64, 3)).eval()
    x = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ann[1].running_mean.fill_(0.1)
        ann[2].threshold.fill_(0.7)
    snn = convert(ann, [x], Dynamics(4, neuron=LIF(reset="subtract", start=0.5)), scale=1, batch_norm="keep").eval()
    assert snn.thresholds["2"].item() == pytest.approx(0.7)
    torch.testing.assert_close(snn(x), ann(x))


class Twice(nn.Module):
    """One staircase in two places."""

    def __init__(self, threshold):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.act = QCFS(4)
        with torch.no_grad():
            self.act.threshold.fill_(threshold)

    def forward(self, x):
        return self.last(self.act(self.second(self.act(self.first(x.flatten(1))))))


@pytest.mark.parametrize(("learned", "expected"), [(0.7, 0.7), (-0.2, 1e-3)])
def test_neurons_get_the_threshold_that_counted_in_every_place_of_a_staircase(learned, expected):
    x = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    snn = convert(Twice(learned).eval(), [x], Dynamics(4, neuron=LIF(reset="subtract", start=0.5)), scale=1, batch_norm="keep")
    assert [threshold.item() for threshold in snn.thresholds.values()] == pytest.approx([expected] * 2)


def test_deeper_networks_come_closer_with_more_steps():
    ann = create("digits", classes=10, size=8, channels=1, width=0.5, activation="QCFS(levels=64, threshold=0.3)").eval()
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    snn = convert(ann, [x], Dynamics(4, neuron=LIF(reset="subtract", start=0.5)), scale=1, batch_norm="keep").eval()
    gaps = [(snn.replace(timesteps=steps)(x) - ann(x)).abs().mean().item() for steps in (1, 4, 64)]
    assert gaps[2] < 0.5 * gaps[1] < 0.5 * gaps[0]


def test_every_slot_of_a_body_gets_one_of_its_own():
    body = create("resnet20", classes=10, size=8, width=0.25, activation="QCFS(levels=8)")
    slots = [module for module in body.modules() if isinstance(module, QCFS)]
    assert len({id(slot.threshold) for slot in slots}) == 19
    assert not any(isinstance(module, nn.ReLU) for module in body.modules())


@pytest.mark.parametrize(("levels", "threshold"), [(0, 1.0), (1.5, 1.0), (4, 0.0), (4, float("inf"))])
def test_a_staircase_out_of_range_is_refused(levels, threshold):
    with pytest.raises(ValueError, match="QCFS"):
        QCFS(levels, threshold)


def stairs(x, threshold, levels):
    """The definition, whose gradient passes the floor."""
    steps = x * levels / threshold + 0.5
    floored = steps + (steps.floor() - steps).detach()
    return (floored / levels).clamp(0, 1)


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_one_pass_over_memory_gives_what_the_definition_gives(levels):
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).mul(2)
    found = []
    for climb in (stairs, _Stairs.apply):
        given, threshold = x.clone().requires_grad_(), torch.tensor(1.3, requires_grad=True)
        y = climb(given, threshold, levels)
        y.backward(x.cos())
        found.append((y.detach(), given.grad, threshold.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
