"""Accuracy after every time step is that of the same network with as many steps."""

from __future__ import annotations

import torch

from robustsnn.data import Samples
from robustsnn.evaluation import Audit, correct_over_time, evaluate
from robustsnn.evaluation.measures import LATENCY


def test_it_is_what_networks_of_fewer_and_more_steps_classify(net, images, labels, unchanged):
    data = Samples(images, labels, classes=4)
    net = net.replace(dict.fromkeys(net.thresholds, 0.3))
    with unchanged(net):
        found = correct_over_time(net, data, batch=2)
    with torch.no_grad():
        each = [int((net.replace(timesteps=t)(images).argmax(1) == labels).sum()) for t in range(1, 9)]
    assert list(found) == each
    assert correct_over_time(net, data, timesteps=3) == found[:3]


def test_an_ann_has_no_steps(ann, images, labels):
    assert correct_over_time(ann, Samples(images, labels, classes=4)) == ()


def test_after_all_its_steps_it_is_the_clean_accuracy_of_the_report(net, images, labels):
    with torch.no_grad():
        labels = torch.where(torch.arange(6) < 4, net(images).argmax(1), labels)
    report = evaluate(net, Samples(images, labels, classes=4), "quick", 0.0, attacks=["FGSM"], check=Audit(images=0))
    assert report.found(LATENCY).correct[net.dynamics.timesteps - 1] == report.clean.value * 6
    assert report.clean.value * 6 >= 4
