"""A loss as a module, and the default engine."""

from __future__ import annotations

import torch

from robustsnn.processes import one_process
from robustsnn.seeds import generator
from robustsnn.training import Natural
from robustsnn.training.distributed import Loss
from robustsnn.training.objectives import passes


def test_a_loss_is_a_module_with_the_networks_parameters(net, images, labels):
    loss = Loss(net)
    rng = generator(0, "test")
    (loss_on,) = passes(Natural(), images, labels, rng)
    assert torch.equal(loss(loss_on), Natural()(net, images, labels, rng=rng))
    assert list(map(id, loss.parameters())) == list(map(id, net.parameters()))


def test_the_default_engine_is_one_process_on_the_cpu():
    fabric = one_process()
    assert (fabric.device.type, fabric.world_size) == ("cpu", 1)
