"""A network leaves as a NIR graph that computes its very spikes, read by a numpy program that knows only NIR's equations."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

from interpreter import run  # noqa: E402

from robustsnn.conversion import spiking  # noqa: E402
from robustsnn.deploy import remarks, to_nir  # noqa: E402
from robustsnn.deploy.nir import export  # noqa: E402
from robustsnn.models import MeanOverTime, resnet, vgg, wideresnet  # noqa: E402
from robustsnn.models.layers import initialise  # noqa: E402
from robustsnn.seeds import generator  # noqa: E402
from robustsnn.spiking import LIF, PLIF, Dynamics, Frames  # noqa: E402

SHAPE = (2, 8, 8)
SIZES = {"classes": 4, "size": 8, "channels": 2, "mean": (0.4, 0.6), "std": (0.3, 0.2)}
BODIES = {
    "vgg": lambda: vgg([4, "A", 6], [10], **SIZES, dropout=0.3),
    "residual": lambda: resnet(8, **SIZES, width=0.25),
    "preactivation": lambda: wideresnet(10, 1, **SIZES, width=0.25),
}
"""Plain, with identity shortcuts, and with norms that no convolution stands before."""


def body(kind, dtype=torch.float64):
    """A body whose norms have seen images, with weights of all digits that the type has."""
    made = BODIES[kind]().to(dtype)
    initialise(made, seed=1)
    rng = generator(2, "test weights")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1 + 1e-3 * torch.randn(parameter.shape, generator=rng, dtype=dtype))
        for _ in range(3):
            made.train()(torch.rand(16, *SHAPE, generator=rng, dtype=dtype))
    return made.eval()


def pixels(dtype=torch.float64, count=6):
    return torch.rand(count, *SHAPE, generator=generator(0, "test images"), dtype=dtype)


def network(kind="vgg", dtype=torch.float64, **dynamics):
    return spiking(body(kind, dtype), pixels(dtype), Dynamics(5, **dynamics), threshold=0.3).eval()


@torch.no_grad()
def watched(net, x):
    """Logits ``[T,N,K]``, and spikes ``[T,N,...]`` by the names of nodes."""
    seen, steps = {}, net.dynamics.timesteps

    def watch(name):
        return lambda _, __, out: seen.update({name: out.unflatten(0, (steps, -1)).numpy().copy()})

    handles = [neuron.register_forward_hook(watch(name.replace(".", "_"))) for name, neuron in net.neurons.items()]
    logits = net.steps(x).numpy()
    for handle in handles:
        handle.remove()
    return logits, seen


def differing(graph, net, x):
    """How many spikes of the graph are not the network's, how many there are, and how far logits are apart."""
    logits, seen = watched(net, x)
    out, spikes = run(graph, x.numpy())
    assert spikes.keys() == seen.keys()
    assert all(0 < found.mean() < 1 for found in seen.values()), "a silent layer proves nothing"
    wrong = sum(int((spikes[name] != found).sum()) for name, found in seen.items())
    return wrong, sum(found.size for found in seen.values()), np.abs(out - logits).max()


def through_a_file(net, target, path):
    export(net, path, target, SHAPE)
    return nir.read(path)


@pytest.mark.parametrize(
    ("target", "leak"), [("generic", 1.0), ("generic", 0.9), ("snntorch", 1.0), ("snntorch", 0.9), ("spikingjelly", 0.9)]
)
@pytest.mark.parametrize("kind", BODIES)
def test_every_spike_of_every_step_is_the_networks(kind, target, leak, tmp_path):
    net = network(kind, neuron=LIF(leak=leak))
    wrong, _, apart = differing(through_a_file(net, target, tmp_path / "net.nir"), net, pixels())
    assert wrong == 0
    assert apart < 1e-12


@pytest.mark.parametrize("kind", BODIES)
def test_every_spike_on_frames_is_the_networks(kind):
    net, frames = body(kind), (pixels(count=30) > 0.7).double().view(6, 5, *SHAPE)
    net.frames = MeanOverTime()
    net = spiking(net, frames, Dynamics(5), threshold=0.3, signal=Frames()).eval()
    wrong, _, apart = differing(to_nir(net, (5, *SHAPE)), net, frames)
    assert wrong == 0
    assert apart < 1e-12


@pytest.mark.parametrize("target", ["norse", "lava"])
def test_sum_pools_behind_divided_weights_are_average_pools(target, tmp_path):
    net = network(neuron=LIF(leak=0.9))
    graph = through_a_file(net, target, tmp_path / "net.nir")
    assert not any(isinstance(node, nir.AvgPool2d | nir.Scale) for node in graph.nodes.values())
    assert any(isinstance(node, nir.SumPool2d) for node in graph.nodes.values())
    assert differing(graph, net, pixels())[0] == 0


def test_the_reader_sees_a_wrong_graph():
    net = network()
    for change in ("weight", "threshold", "edge"):
        graph = to_nir(net, SHAPE)
        if change == "weight":
            graph.nodes["features_0"].weight *= 1.01
        elif change == "threshold":
            graph.nodes["features_2"].v_threshold[:] = 0.31
        else:
            graph.edges[graph.edges.index(("normalize", "features_0"))] = ("input", "features_0")
        assert differing(graph, net, pixels())[0] > 10, change


def dyadic(net):
    """The same with numbers whose sums are exact in any order, so that potentials meet thresholds exactly."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.fill_(4.0)
            elif value.is_floating_point() and not name.endswith(("threshold", "mean", "std")):
                value.copy_((value * 8).round() / 8)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
                module.weight.fill_(2.0)
        net.body.normalize.mean.fill_(0.5)
        net.body.normalize.std.fill_(0.25)
    return net.replace(dict.fromkeys(net.thresholds, 0.5))


def test_potentials_at_the_threshold_fire_in_single_precision():
    net, x = dyadic(network(dtype=torch.float32)), (pixels(torch.float32) * 4).round() / 4
    fired = differing(to_nir(net, SHAPE), net, x)
    assert fired[0] == 0
    assert fired[2] == 0
    graph = to_nir(net, SHAPE, "spikingjelly")
    graph.metadata["fires"] = "v > v_threshold"  # ties do occur: a reader that fires above a threshold not lowered is wrong
    assert differing(graph, net, x)[0] > 0


def test_thresholds_of_channels_and_trained_leaks_leave_with_the_network():
    net = network("residual", neuron=PLIF())
    with torch.no_grad():
        for i, leak in enumerate(net.leaks.values()):
            leak.fill_(1 - 0.01 * i)
        spikes = watched(net, pixels())[1].values()
        for threshold, found in zip(net.thresholds.values(), spikes, strict=True):
            threshold.data = torch.linspace(0.2, 0.4, found.shape[2], dtype=threshold.dtype).view(-1, 1, 1)
    for target in ("generic", "snntorch"):
        graph = to_nir(net, SHAPE, target)
        assert differing(graph, net, pixels())[0] == 0
        assert any("thresholds: one per layer" in remark for remark in remarks(graph)) == (target == "snntorch")
    assert all(np.unique(node.v_threshold).size == 1 for node in graph.nodes.values() if isinstance(node, nir.LIF))


def test_the_graph_says_how_it_is_to_be_run(tmp_path):
    graph = through_a_file(network(neuron=LIF(leak=0.9)), "generic", tmp_path / "net.nir")
    facts = graph.metadata
    assert (facts["timesteps"], facts["dt"], facts["reset"], facts["target"]) == (5, 1e-4, "zero", "generic")
    assert {"robustsnn", "coding", "readout", "fires", "remarks"} <= set(facts)
    assert graph.input_type["input"].tolist() == list(SHAPE)
    assert graph.nodes["features_2"].v_threshold.shape == (4, 8, 8)
    assert [type(graph.nodes[name]).__name__ for name in ("normalize", "features_0", "features_2")] == [
        "Conv2d",
        "Conv2d",
        "LIF",
    ]
    assert not any("dropout" in name or "bn" in name for name in graph.nodes)


def test_one_epoch_after_export_the_graph_is_as_it_was(unchanged):
    net = network()
    with unchanged(net):
        graph = to_nir(net, SHAPE)
    before = graph.nodes["classifier_1"].weight.copy()
    with torch.no_grad():
        net.body.classifier[1].weight.mul_(2)
    assert np.array_equal(graph.nodes["classifier_1"].weight, before)


def test_soft_reset_leaves_in_words_only():
    net = network(neuron=LIF(reset="subtract"))
    graph = to_nir(net, SHAPE)
    assert differing(graph, net, pixels())[0] == 0
    assert any(remark.startswith("reset: ") for remark in remarks(graph))
    assert any("several times" in remark for remark in remarks(to_nir(net, SHAPE, "sinabs")))


@pytest.mark.parametrize(
    ("dynamics", "target", "kind", "words"),
    [
        ({"neuron": LIF(reset="subtract")}, "snntorch", "vgg", "no reset 'subtract'"),
        ({}, "sinabs", "vgg", "no reset 'zero'"),
        ({"neuron": LIF(reset="subtract", leak=0.9)}, "sinabs", "vgg", "leak"),
        ({"neuron": LIF(start=0.5)}, "generic", "vgg", "start 0"),
        ({}, "norse", "residual", "sums branches"),
        ({}, "brian", "vgg", "target"),
    ],
)
def test_what_a_target_does_not_have_is_named(dynamics, target, kind, words):
    with pytest.raises(ValueError, match=words):
        to_nir(network(kind, **dynamics), SHAPE, target)


def test_images_of_another_shape_are_named():
    with pytest.raises(ValueError, match="3, 8, 8"):
        to_nir(network(), (3, 8, 8))


def foreign():
    """The bodies, as people write them, that conversion is tested with."""
    path = Path(__file__).parents[1] / "conversion/bodies.py"
    spec = importlib.util.spec_from_file_location("bodies_to_export", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, module.Net) and kind is not module.Net
    }


REFUSED = {"Dense": "cat", "FromInput": "cat"}
"""What other simulators do not know."""


@pytest.mark.parametrize("name", foreign())
def test_bodies_as_people_write_them_leave_exactly_or_are_named(name):
    ann = foreign()[name]().double()
    x = pixels()
    for _ in range(3):
        ann.train()(x)
    net = spiking(ann.eval(), x, Dynamics(5), threshold=0.1).eval()
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            to_nir(net, SHAPE)
        return
    wrong, _, apart = differing(to_nir(net, SHAPE), net, x)
    assert wrong == 0
    assert apart < 1e-12


class Odd(nn.Module):
    """Grouped, strided, dilated and ``same`` convolutions, scaled and subtracted branches, a pool by ``mean``."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding="same", groups=2), nn.Conv2d(4, 4, 3, 2, padding=2, dilation=2)
        self.c, self.act1, self.act2 = nn.Conv2d(4, 4, 1, 2), nn.ReLU(), nn.ReLU()
        self.norm, self.fc, self.weight = nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x = self.act1(self.a(x))
        y = self.b(x)
        y -= self.c(x) / 3
        y = self.act2(-y * self.weight + y + y)
        return self.norm(self.fc(y.mean((2, 3)) * 2))


def test_what_simulators_lack_is_expressed_by_what_they_have():
    ann, x = Odd().double(), pixels()
    for _ in range(3):
        ann.train()(x)
    net = spiking(ann.eval(), x, Dynamics(5), threshold=0.1).eval()
    for target in ("generic", "snntorch"):
        wrong, _, apart = differing(to_nir(net, SHAPE, target), net, x)
        assert wrong == 0
        assert apart < 1e-12


class Twisted(nn.Module):
    """A mean over channels and rows of square images has the shape of one over rows and columns."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((1, 2)))


def test_a_mean_over_other_axes_is_no_pool():
    x = torch.rand(2, 2, 8, 8)
    with pytest.raises(ValueError, match=r"operation mean .* cannot be exported"):
        to_nir(spiking(Twisted().eval(), x, Dynamics(2), threshold=0.1).eval(), (2, 8, 8))


class Signal(nn.Module):
    """A residual network on a signal ``[N, C, L]``, with strides, groups, dilation and a norm that nothing absorbs."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.act1 = nn.Conv1d(2, 4, 5, stride=2, padding=2), nn.BatchNorm1d(4), nn.ReLU()
        self.b, self.act2, self.after = nn.Conv1d(4, 4, 3, padding="same", groups=2, dilation=2), nn.ReLU(), nn.BatchNorm1d(4)
        self.flat, self.fc = nn.Flatten(), nn.Linear(64, 4)

    def forward(self, x):
        x = self.act1(self.norm(self.a(x)))
        return self.fc(self.flat(self.after(self.act2(self.b(x)) + x)))


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.head = nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.act(self.first(x)))


@pytest.mark.parametrize("body", [Signal, Vector])
def test_signals_and_vectors_leave_exactly(body):
    ann = body().double()
    x = torch.rand(4, *((2, 32) if body is Signal else (8,)), generator=generator(0, "test signals")).double()
    for _ in range(3):
        ann.train()(x)
    net = spiking(ann.eval(), x, Dynamics(5), threshold=0.1).eval()
    wrong, _, apart = differing(to_nir(net, tuple(x.shape[1:])), net, x)
    assert wrong == 0
    assert apart < 1e-12
    assert net(x).std() > 0
