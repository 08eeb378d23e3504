"""What attacks follow computes the same as the network it is made of, with fewer operations."""

import torch
from torch import nn

from robustsnn.compute.recall import graph_bytes
from robustsnn.conversion import bfloat16, fold, folded, spiking
from robustsnn.models import create
from robustsnn.spiking import Dynamics


def norms(net):
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def test_it_computes_the_same_without_batch_norms(net, ann, images, unchanged):
    for whole in (net, ann):
        with unchanged(whole):
            short = folded(whole)
            torch.testing.assert_close(short(images), whole(images), rtol=1e-4, atol=1e-5)
        assert norms(whole)
        assert not norms(short)
        assert not short.training


def test_its_gradients_end_at_the_pixels(net, images):
    pixels = images.clone().requires_grad_()
    short = folded(net)
    assert not any(parameter.requires_grad for parameter in short.parameters())
    (gradient,) = torch.autograd.grad(short(pixels).square().sum(), pixels)
    (expected,) = torch.autograd.grad(net(pixels).square().sum(), pixels)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_a_network_in_training_is_followed_in_eval_mode_and_stays_in_training(net, images, unchanged):
    expected = net(images)
    net.train()
    with unchanged(net):
        torch.testing.assert_close(folded(net)(images), expected, rtol=1e-4, atol=1e-5)


def test_residual_branches_are_folded_too():
    body = create("resnet20", 4, width=0.25, size=8)
    x = torch.rand(4, 3, 8, 8)
    body.train()(x)
    body.eval()
    net = spiking(body, x, Dynamics(2))
    assert len(norms(net)) == 21
    assert not norms(folded(net))
    torch.testing.assert_close(folded(body)(x), body(x), rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """A convolution whose output two layers read, one used twice, and a norm of the batch at hand."""

    def __init__(self):
        super().__init__()
        self.fork, self.twice, self.plain = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.batch = nn.BatchNorm2d(2, track_running_stats=False)
        self.last = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        forked = self.fork(x)
        x = self.norm1(forked) + forked
        x = self.norm2(self.twice(self.twice(x)))
        return self.batch(self.last(self.norm3(self.plain(x)))).flatten(1)


def test_only_a_convolution_that_nothing_else_reads_is_folded():
    net = Shared()
    x = torch.rand(5, 2, 6, 6)
    net.train()(x)
    net.eval()
    short = folded(net)
    torch.testing.assert_close(short(x), net(x), rtol=1e-4, atol=1e-5)
    assert [type(short.get_submodule(name)) is nn.Identity for name in ("norm1", "norm2", "norm3", "batch")] == [
        False,
        False,
        True,
        False,
    ]


def test_a_forward_pass_that_cannot_be_followed_keeps_its_norms(images):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x):
            return self.norm(self.conv(x)).flatten(1) if x.sum() > 0 else x.flatten(1)

    net = Branches().eval()
    torch.testing.assert_close(folded(net)(images), net(images))
    assert norms(folded(net))


def test_layers_in_bfloat16_give_float32_close_to_the_whole(net, images, unchanged):
    pixels = images.clone().requires_grad_()
    with unchanged(net):
        half = bfloat16(folded(net))
        logits = half(pixels)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, net(images))
    torch.testing.assert_close(logits, net(images), rtol=0.1, atol=0.1)
    (gradient,) = torch.autograd.grad(logits.square().sum(), pixels)
    assert gradient.dtype == torch.float32
    assert gradient.abs().sum() > 0


def test_its_graph_keeps_no_inputs_of_convolutions():
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, 2), nn.Flatten(), nn.Linear(45, 2)).eval()
    x = torch.rand(7, 3, 8, 8, requires_grad=True)
    weights = sum(4 * layer.weight.numel() for layer in (body[0], body[1], body[3]))
    assert graph_bytes(folded(body), x) <= weights < graph_bytes(body, x)
    (gradient,) = torch.autograd.grad(folded(body)(x).square().sum(), x)
    (expected,) = torch.autograd.grad(body(x).square().sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_what_is_remembered_of_a_body_is_forgotten_when_it_changes():
    body = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).eval()
    x = torch.rand(3, 2, 6, 6)
    assert not norms(folded(body))
    with torch.no_grad():
        body[0].weight.mul_(2)
    torch.testing.assert_close(folded(body)(x), body(x), rtol=1e-4, atol=1e-5)
    body.insert(1, nn.ReLU())
    assert norms(folded(body))
    torch.testing.assert_close(folded(body)(x), body(x), rtol=1e-4, atol=1e-5)
    del body[1]
    assert not norms(folded(body))
    hook = body[0].register_forward_hook(lambda *_: None)
    assert norms(folded(body))
    hook.remove()
    assert not norms(folded(body))


def test_one_network_is_followed_once(monkeypatch):
    calls, follow = [], fold.Tracer.trace
    monkeypatch.setattr(fold.Tracer, "trace", lambda *args: calls.append(args) or follow(*args))
    body = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    assert not norms(folded(body))
    assert not norms(folded(body))
    assert len(calls) == 1
