"""Real simulators read our files and say, on real images, what our networks say."""

import contextlib
import importlib
import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

from robustsnn.conversion import convert  # noqa: E402
from robustsnn.data import digits  # noqa: E402
from robustsnn.deploy.nir import export, remarks, to_nir  # noqa: E402
from robustsnn.models import create, resnet  # noqa: E402
from robustsnn.models.layers import initialise  # noqa: E402
from robustsnn.seeds import generator  # noqa: E402
from robustsnn.spiking import LIF, Dynamics, unrolled, walk  # noqa: E402

SHAPE, STEPS = (1, 8, 8), 8
ROUNDING = 1e-5
"""Of a threshold: nearer than this, single precision cannot tell on which side of it a potential is."""


def _snntorch(graph):
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        return importlib.import_module("snntorch.import_nir").import_from_nir(graph)


def _spikingjelly(graph):
    return importlib.import_module("spikingjelly.activation_based.nir_exchange").import_from_nir(
        graph, dt=graph.metadata["dt"]
    )


def _norse(graph):
    return importlib.import_module("norse.torch").from_nir(graph, dt=float(graph.metadata["dt"]))


SIMULATORS = {
    "snntorch": (_snntorch, ("Leaky",)),
    "spikingjelly": (_spikingjelly, ("_NIRStatefulModule",)),
    "norse": (_norse, ("IAFCell", "LIFBoxCell")),
}
"""How each reads a graph, and what it calls its neurons."""


@torch.no_grad()
def simulated(target, graph, x):
    """Logits ``[T,N,K]`` and spikes ``[T,N,...]`` by node, in a real simulator."""
    read, neurons = SIMULATORS[target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        pytest.importorskip(target, reason=f"{target} is not installed")
        model = read(graph)
    spikes, outputs, state = {}, [], None

    def watch(name):
        def note(_, __, out):
            spikes.setdefault(name, []).append((out[0] if isinstance(out, tuple) else out).numpy())

        return note

    for name, module in model.named_modules():
        if type(module).__name__ in neurons:
            module.register_forward_hook(watch(name))
    for _ in range(int(graph.metadata["timesteps"])):
        out, state = model(x, state)
        outputs.append(out)
    return torch.stack(outputs), {name: np.stack(found) for name, found in spikes.items()}


@torch.no_grad()
def ours(net, x):
    """The same in our network, with the potential that each spike is decided by, ``[T,N,...]``."""
    spikes, potentials, view = {}, {}, net.firing(unrolled)  # the equations, which are not compiled

    def watch(name):
        def note(neuron, given, out):
            current = given[0].expand(STEPS, *given[0].shape) if neuron.first else given[0].unflatten(0, (STEPS, -1))
            spikes[name] = out.unflatten(0, (STEPS, -1)).numpy().copy()
            potentials[name] = (
                torch.stack(walk(current, neuron.threshold, neuron.dynamics).potentials) / neuron.threshold
            ).numpy()

        return note

    handles = [neuron.register_forward_hook(watch(name.replace(".", "_"))) for name, neuron in view.neurons.items()]
    logits = view.steps(x)
    for handle in handles:
        handle.remove()
    return logits, spikes, potentials


def same(spikes, theirs, image):
    return all((found[:, image] == theirs[name][:, image]).all() for name, found in spikes.items())


def decided_by_rounding(spikes, theirs, potentials, image):
    """Whether spikes of an image differ, and do so first where the potential was all but at the threshold.

    The first layer that differs, in firing order, was given the same spikes; so was each of its neurons up to its first
    spike that differs.
    """
    for name, found in spikes.items():
        apart = found[:, image] != theirs[name][:, image]
        if apart.any():
            first = apart & (apart.cumsum(0) == 1)
            return np.abs(potentials[name][:, image][first] - 1).max() < ROUNDING
    return False


def trained(body):
    """A body after a few seconds of training, and images to calibrate by."""
    data, optimizer = digits(), torch.optim.Adam(body.parameters(), 3e-3)
    for epoch in range(6):
        for index in torch.randperm(len(data.train), generator=generator(epoch, "test order")).split(64):
            x, y = data.train.batch(index)
            optimizer.zero_grad()
            nn.functional.cross_entropy(body.train()(x), y).backward()
            optimizer.step()
    return body.eval(), list(data.train.batch(torch.arange(128))[0].split(16))  # too small to compile the neurons for


@pytest.fixture(scope="module")
def bodies():
    data = digits()
    options = {"classes": 10, "size": 8, "channels": 1, "mean": data.mean, "std": data.std}
    residual = resnet(8, **options, width=0.5)
    initialise(residual, 0)
    return {"plain": trained(create("digits", **options, width=0.375)), "residual": trained(residual)}


@pytest.fixture(scope="module")
def test_images():
    data = digits().test
    return data.batch(torch.arange(len(data)))


@pytest.mark.parametrize(
    ("target", "kind", "leak", "granularity"),
    [
        ("snntorch", "plain", 1.0, "layer"),
        ("snntorch", "residual", 0.9, "channel"),
        ("spikingjelly", "residual", 1.0, "layer"),
        ("norse", "plain", 0.9, "channel"),
    ],
)
def test_a_simulator_agrees_on_the_digits(target, kind, leak, granularity, bodies, test_images, tmp_path):
    """Where a spike differs at all, the first that does in its image was decided by less than rounding."""
    (ann, batches), (x, y) = bodies[kind], test_images
    net = convert(
        ann, batches, Dynamics(STEPS, neuron=LIF(leak=leak)), scale=0.4, calibration_timesteps=20, granularity=granularity
    ).eval()
    export(net, tmp_path / "net.nir", target, SHAPE)
    theirs, their_spikes = simulated(target, nir.read(tmp_path / "net.nir"), x)
    logits, spikes, potentials = ours(net, x)
    predicted = logits.mean(0).argmax(1)
    assert (predicted == y).float().mean() > 0.85, "a network that sees nothing proves nothing"
    assert len(x) == 450
    assert (theirs.mean(0).argmax(1) == predicted).float().mean() >= 0.99
    assert their_spikes.keys() == spikes.keys()
    assert all(0 < found.mean() < 1 for found in spikes.values())
    for image, alike in enumerate(torch.isclose(theirs, logits, atol=1e-3).all(2).all(0).tolist()):
        assert decided_by_rounding(spikes, their_spikes, potentials, image) or (alike and same(spikes, their_spikes, image))


def test_a_simulator_that_reads_another_threshold_disagrees(bodies, test_images):
    (ann, batches), (x, _) = bodies["plain"], test_images
    net = convert(ann, batches, Dynamics(STEPS), scale=0.4, calibration_timesteps=20).eval()
    graph = to_nir(net, SHAPE, "snntorch")
    graph.nodes["features_2"].v_threshold *= 1.02
    _, their_spikes = simulated("snntorch", graph, x)
    _, spikes, potentials = ours(net, x)
    wrong = [image for image in range(len(x)) if not same(spikes, their_spikes, image)]
    assert len(wrong) > 100
    assert not all(decided_by_rounding(spikes, their_spikes, potentials, image) for image in wrong)


def test_sinabs_agrees_as_far_as_it_can(bodies, test_images):
    """It fires several times a step and clips potentials, as the remarks say."""
    importer = pytest.importorskip("sinabs.nir", reason="sinabs cannot be imported")
    (ann, batches), (x, y) = bodies["plain"], test_images
    net = convert(ann, batches, Dynamics(STEPS, neuron=LIF(reset="subtract")), scale=0.6, calibration_timesteps=20).eval()
    graph = to_nir(net, SHAPE, "sinabs")
    assert {"potentials", "spikes"} <= {remark.partition(":")[0] for remark in remarks(graph)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = importer.from_nir(graph, batch_size=len(x))
        out = model(x.unsqueeze(1).expand(-1, STEPS, -1, -1, -1).flatten(0, 1))
    logits = (out[0] if isinstance(out, tuple) else out).unflatten(0, (len(x), STEPS)).mean(1)
    assert (logits.argmax(1) == y).float().mean() > 0.85
    assert (logits.argmax(1) == net.firing(unrolled)(x).argmax(1)).float().mean() > 0.9
