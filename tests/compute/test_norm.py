"""Batch norm over channels-last images is torch's own, with statistics that keep their digits."""

import pytest
import torch
from torch import nn

from robustsnn.compute.norm import BatchNorm2d, Synchronised, exact, statistics
from robustsnn.compute.recall import recalling
from robustsnn.seeds import generator


def rows(count=64, size=16):
    return (2 + torch.rand(count, 3, size, size, generator=generator(0, "norm"))).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_it_is_torchs_own_in_training_and_after(momentum, affine):
    reference = nn.BatchNorm2d(3, momentum=momentum, affine=affine).double()
    ours = exact(nn.BatchNorm2d(3, momentum=momentum, affine=affine))
    for batch in rows().split(16):
        x, same = batch.clone().requires_grad_(), batch.double().requires_grad_()
        torch.testing.assert_close(ours(x), reference(same).float(), rtol=1e-5, atol=1e-5)
        weights = torch.randn(x.shape, generator=generator(1, "norm"))
        (ours(x) * weights).sum().backward()
        (reference(same) * weights.double()).sum().backward()
        torch.testing.assert_close(x.grad, same.grad.float(), rtol=1e-4, atol=1e-4)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name].double(), tensor.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.eval()(rows()), reference.eval()(rows().double()).float(), rtol=1e-5, atol=1e-5)


def test_statistics_of_many_values_keep_their_digits():
    x = rows(512, 32)
    mean, variance = statistics(x)
    torch.testing.assert_close(mean.double(), x.double().mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), x.double().var((0, 2, 3), correction=0), rtol=1e-5, atol=0)


def test_the_exact_layer_shares_tensors_and_leaves_the_other_as_it_was():
    norm = nn.BatchNorm2d(3)
    ours = exact(norm)
    assert type(norm) is nn.BatchNorm2d
    assert isinstance(ours, BatchNorm2d)
    assert ours.weight is norm.weight
    assert ours.running_mean is norm.running_mean
    ours.running_mean = None
    assert norm.running_mean is not None


@pytest.mark.parametrize("layouts", [(torch.contiguous_format, torch.channels_last), (torch.channels_last,) * 2], ids=str)
def test_a_second_forward_pass_leaves_the_way_back_of_the_first(layouts):
    """As losses need it that ask for the answers to adversarial images before those to clean ones."""
    layer, x = BatchNorm2d(3), torch.randn(4, 3, 5, 5, generator=generator(0, "test"))
    theirs = nn.BatchNorm2d(3)
    inputs = [x.clone(memory_format=layout).requires_grad_() for layout in layouts]
    plain = [x.clone().requires_grad_() for _ in layouts]
    with recalling():
        kept = [layer(each) for each in inputs]
    sum(y.square().sum() + y[0].sum() for y in kept).backward()
    sum(y.square().sum() + y[0].sum() for y in [theirs(each) for each in plain]).backward()
    for ours, other in zip(inputs, plain, strict=True):
        torch.testing.assert_close(ours.grad, other.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.running_mean, theirs.running_mean)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [BatchNorm2d, Synchronised])
def test_what_comes_in_bfloat16_is_counted_and_averaged_in_float32(kind, affine, monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: None)  # one process alone
    x = rows(67, 13).bfloat16()  # 11,323 values a channel: bfloat16 has no such number
    reference = nn.BatchNorm2d(3, affine=affine)
    ours = exact(nn.BatchNorm2d(3, affine=affine), kind)
    expected = reference(x.float())
    torch.testing.assert_close(ours(x).float(), expected, rtol=0.01, atol=0.02)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-4)
