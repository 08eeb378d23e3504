"""What neurons do is counted as one would by hand, and stands in the report of a spiking network."""

from __future__ import annotations

import pytest
import torch

from robustsnn.data import Samples
from robustsnn.evaluation import Audit, Row, evaluate
from robustsnn.evaluation.measures.activity import ACTIVITY, activity


def by_hand(net, x):
    """Spikes ``[T, N, neurons]`` of every layer, from a hook on it."""
    seen = {}
    hooks = [
        neuron.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.unflatten(0, (net.timesteps, -1))}))
        for name, neuron in net.neurons.items()
    ]
    with torch.no_grad():
        net.eval()(x)
    for hook in hooks:
        hook.remove()
    return {name: spikes.flatten(2) for name, spikes in seen.items()}


def test_it_is_what_one_counts_by_hand_whatever_the_batches(net, images):
    found, seen = activity(net, images.split(4)), by_hand(net, images)
    assert list(found.spikes) == list(seen)
    for name, spikes in seen.items():
        per_neuron = spikes.sum(0)
        assert found.spikes[name] == pytest.approx(float(spikes.sum()) / len(images))
        assert found.silent[name] == pytest.approx(float((per_neuron == 0).double().mean()))
        assert found.saturated[name] == pytest.approx(float((per_neuron == net.timesteps).double().mean()))


def test_a_layer_far_above_its_threshold_fires_always_and_one_far_below_never(net, images):
    first, *_, last = net.thresholds
    with torch.no_grad():
        net.thresholds[first].fill_(1e9)
        net.thresholds[last].fill_(-1e9)
    found = activity(net, [images])
    assert (found.spikes[first], found.silent[first], found.saturated[first]) == (0, 1, 0)
    assert (found.silent[last], found.saturated[last]) == (0, 1)


def test_it_stands_in_the_report_of_a_spiking_network_alone(net, ann, images, labels):
    for network, there in ((net, True), (ann, False)):
        report = evaluate(network, Samples(images, labels, classes=4), "quick", 0.0, attacks=["FGSM"], check=Audit(0))
        assert (report.found(ACTIVITY) is not None) == there
        (section,) = ACTIVITY.sections([Row(network="it", report=report)])
        assert [line[0] for line in section.table[1]] == list(net.neurons) * there
