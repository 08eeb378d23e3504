"""Firing rates and thresholds, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustsnn.data import Samples
from robustsnn.evaluation import firing_rates
from robustsnn.evaluation.measures.layers import thresholds
from robustsnn.spiking import Dynamics, Slot, SpikingNetwork

CURRENTS = torch.tensor([[1.0, 0.5, 0.4, 0.0], [0.25, 0.25, 0.25, 0.25], [1.0, 1.0, 1.0, 1.0]])
"""Of three images, into four neurons with threshold 1 that integrate for four steps: 4 + 2 + 1 + 0, 4 x 1, 4 x 4 spikes."""
RATE = (7 + 4 + 16) / (3 * 4 * 4)


def one_layer(first=False):
    body = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(4, 2))
    return SpikingNetwork(body, Dynamics(4), slots=[Slot("1", first)])


def images(count=3):
    return Samples(CURRENTS[:count].view(-1, 1, 2, 2), torch.zeros(count, dtype=torch.int64), classes=2)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3, 50])
def test_rates_are_counted_over_images_neurons_and_steps(first, batch):
    assert firing_rates(one_layer(first), images(), batch) == {"1": pytest.approx(RATE)}


def test_rates_come_in_firing_order_and_leave_the_network_alone(net, images, labels, unchanged):
    data = Samples(images, labels, classes=4)
    with unchanged(net):
        rates = firing_rates(net, data)
    assert list(rates) == list(net.thresholds)
    assert all(0 < rate < 1 for rate in rates.values())


def test_a_network_without_neurons_has_no_rates(ann, images, labels):
    assert firing_rates(ann, Samples(images, labels, classes=4)) == {} == thresholds(ann)


def test_the_threshold_of_a_layer_is_its_mean():
    net = one_layer()
    net.thresholds["1"].data = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert thresholds(net) == {"1": 3.0}
