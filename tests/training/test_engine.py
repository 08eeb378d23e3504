"""The scope of torch's global randomness, and a loss as a module."""

from __future__ import annotations

import pytest
import torch

from robustsnn.seeds import generator
from robustsnn.training import Natural
from robustsnn.training.engine import Loss, cpu, randomness
from robustsnn.training.objectives import passes


def drawn(*purpose):
    with randomness(*purpose):
        return torch.rand(3).tolist()


def test_inside_the_scope_randomness_depends_on_the_purpose_alone():
    first = drawn(0, "dropout", 1)
    torch.rand(7)
    assert drawn(0, "dropout", 1) == first
    assert drawn(0, "dropout", 2) != first


@pytest.mark.parametrize("error", [None, KeyError])
def test_after_the_scope_the_global_generator_is_as_it_was(error):
    before = torch.get_rng_state()
    try:
        with randomness(0):
            torch.rand(5)
            if error:
                raise error
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_is_a_module_with_the_networks_parameters(net, images, labels):
    loss = Loss(net)
    rng = generator(0, "test")
    (loss_on,) = passes(Natural(), images, labels, rng)
    assert torch.equal(loss(loss_on), Natural()(net, images, labels, rng=rng))
    assert list(map(id, loss.parameters())) == list(map(id, net.parameters()))


def test_the_default_engine_is_one_process_on_the_cpu():
    fabric = cpu()
    assert (fabric.device.type, fabric.world_size) == ("cpu", 1)
