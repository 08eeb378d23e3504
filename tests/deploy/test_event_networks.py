"""Event networks of SpikingJelly and snnTorch: they read one frame per step, and are attacked event by event."""

import pytest
import torch
from torch import nn

from robustsnn import Flips, Frames, Retiming, evaluate
from robustsnn.data import Samples
from robustsnn.deploy import from_snntorch, from_spikingjelly
from robustsnn.evaluation import Audit
from robustsnn.seeds import generator
from robustsnn.spiking import LIF, Dynamics, Rate, SpikingNetwork, Surrogate, Triangle

pytestmark = pytest.mark.usefixtures("unchecked")

STEPS = 4
EVENTS = (torch.rand(8, STEPS, 2, 6, 6, generator=generator(0, "events")) < 0.3).to(torch.uint8)


@pytest.fixture
def weights():
    """Layers whose neurons fire now and then."""
    made = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(144, 5)
    for number, layer in enumerate(made):
        layer.weight.data = 0.5 * torch.randn(layer.weight.shape, generator=generator(number, "weights"))
        layer.bias.data.zero_()
    return made


def spikingjelly(weights, mode="m"):
    layer = pytest.importorskip("spikingjelly.activation_based.layer", reason="pip install --no-deps spikingjelly loguru")
    from spikingjelly.activation_based import functional, neuron

    conv, out = layer.Conv2d(2, 4, 3, padding=1), layer.Linear(144, 5)
    for mine, theirs in zip(weights, (conv, out), strict=True):
        theirs.weight, theirs.bias = mine.weight, mine.bias
    net = nn.Sequential(conv, neuron.IFNode(v_reset=None), layer.Flatten(), out)
    functional.set_step_mode(net, mode)
    return from_spikingjelly(net, STEPS, signal=Frames()).eval()


def snntorch(weights):
    snn = pytest.importorskip("snntorch", reason="pip install snntorch")
    conv, out = weights
    return from_snntorch(
        nn.Sequential(conv, snn.Leaky(1.0, init_hidden=True), nn.Flatten(), out),
        STEPS,
        signal=Frames(),
    ).eval()


class OwnLoop(nn.Module):
    """A snnTorch network that reads the frames ``[N,T,C,H,W]`` by itself, as its tutorials do."""

    def __init__(self, weights, snn):
        super().__init__()
        (self.conv, self.out), self.leaky = weights, snn.Leaky(0.9)

    def forward(self, x):
        mem, logits = self.leaky.init_leaky(), []
        for frame in x.unbind(1):
            spikes, mem = self.leaky(self.conv(frame), mem)
            logits.append(self.out(spikes.flatten(1)))
        return torch.stack(logits)


def looping(weights):
    snn = pytest.importorskip("snntorch", reason="pip install snntorch")
    return from_snntorch(OwnLoop(weights, snn), STEPS, run=lambda net, x, timesteps: net(x)).eval()


def ours(weights):
    conv, out = weights
    body = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), out)
    return SpikingNetwork(body, Dynamics(STEPS, LIF(reset="subtract")), Frames()).eval()


def single_step(weights):
    return spikingjelly(weights, "s")


@pytest.mark.parametrize("make", [spikingjelly, single_step, snntorch])
def test_they_read_one_frame_per_step_as_our_networks_do(make, weights):
    x, theirs, mine = EVENTS.float(), make(weights), ours(weights)
    torch.testing.assert_close(theirs.steps(x), mine.steps(x))
    slopes = []
    for net in (theirs, mine):
        for path in (Surrogate(Triangle(1.0), detach_reset=True), Rate()):
            at = x.clone().requires_grad_()
            slopes.append(torch.autograd.grad(path(net)(at).square().sum(), at)[0])
    torch.testing.assert_close(slopes[0], slopes[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slopes[1], slopes[3], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"are not frames \[N, T, ...\] with T = 4"):
        theirs(x[:, :3])


@pytest.mark.parametrize("make", [spikingjelly, snntorch, looping])
def test_the_protocol_events_measures_them(make, weights):
    net = make(weights)
    labels = net(EVENTS.float()).argmax(1)
    data = Samples(EVENTS, labels, 5, counts=True).first(4)
    flips = evaluate(net, data, "events", eps=0.2, check=Audit(images=0))
    assert flips.clean.value == 1
    assert flips.worst(0.2).value < 1
    assert {type(result.within) for result in flips.results} == {Flips}
    shifts = evaluate(net, data, "events", threat=Retiming(1), check=Audit(images=0))
    assert shifts.results[0].within == Retiming(1)
    assert "retiming by 1 bin" in str(shifts)
