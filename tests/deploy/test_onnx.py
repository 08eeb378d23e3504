"""All steps of a network as one graph for a runtime."""

import pytest
import torch
from torch import nn

from robustsnn.conversion import spiking
from robustsnn.deploy import exported, to_onnx
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.spiking import LIF, PLIF, Dynamics, MultiSpike

pytestmark = pytest.mark.usefixtures("unchecked")

SHAPE = (2, 8, 8)


def network(**dynamics):
    body = create("vgg", classes=4, size=8, channels=2, seed=1, plan=[4, "A", 6], hidden=[10])
    for _ in range(3):
        body.train()(pixels(16))
    return spiking(body.eval(), pixels(3), Dynamics(3, **dynamics), threshold=0.3).eval()


def pixels(count):
    return torch.rand(count, *SHAPE, generator=generator(0, "test images"))


@pytest.mark.parametrize(
    "dynamics", [{}, {"neuron": LIF(0.9, "subtract", 0.5)}, {"neuron": PLIF(0.9)}, {"neuron": MultiSpike(3)}], ids=str
)
def test_the_exported_program_is_the_network_for_any_number_of_images(dynamics, unchanged):
    net = network(**dynamics)
    with unchanged(net):
        program = exported(net, SHAPE).module()
    for count in (1, 2, 7):
        x = pixels(count)
        assert torch.allclose(program(x), net(x), atol=1e-5)
        assert program(x).std() > 0


@pytest.mark.parametrize("timesteps", [1, 3])
def test_a_network_may_end_in_spikes(timesteps):
    body = nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 4), nn.ReLU()).eval()
    net = spiking(body, pixels(3), Dynamics(timesteps), threshold=0.2).eval()
    program = exported(net, SHAPE).module()
    for count in (1, 2, 7):
        assert torch.allclose(program(pixels(count)), net(pixels(count)), atol=1e-5)
    assert net(pixels(7)).std() > 0


def test_training_is_no_part_of_it():
    net = network()
    assert torch.allclose(exported(net.train(), SHAPE).module()(pixels(5)), net.eval()(pixels(5)), atol=1e-5)


def test_onnxruntime_gives_the_same_logits():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="onnx, onnxscript or onnxruntime is not installed")
    import onnxruntime

    net, x = network(neuron=LIF(leak=0.9)), pixels(32)
    session = onnxruntime.InferenceSession(to_onnx(net, SHAPE), providers=["CPUExecutionProvider"])
    for count in (1, 32):
        (logits,) = session.run(["logits"], {"images": x[:count].numpy()})
        assert torch.allclose(torch.from_numpy(logits), net(x[:count]), atol=1e-4)
    assert torch.equal(torch.from_numpy(logits).argmax(1), net(x).argmax(1))
    assert net(x).std(0).min() > 0


def test_images_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"\(3, 8, 8\)"):
        exported(network(), (3, 8, 8))


def test_without_the_packages_the_error_names_them(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ValueError, match=r"robustsnn\[onnx\]"):
        to_onnx(network(), SHAPE)
