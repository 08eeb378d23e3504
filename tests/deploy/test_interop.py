"""Networks of the real neurons of SpikingJelly and snnTorch, and of one's own: ours where ours are the same, and evaluated."""

import pytest
import torch
from torch import nn

from robustsnn import evaluate
from robustsnn.data import Samples
from robustsnn.deploy import from_neurons, from_snntorch, from_spikingjelly
from robustsnn.evaluation import PUBLISHED_PATHS, Audit, firing_rates, members, protocol
from robustsnn.evaluation.measures import LAYERS, PILOT
from robustsnn.evaluation.member import leading
from robustsnn.spiking import (
    LIF,
    Adaptive,
    Analog,
    Dynamics,
    Exponential,
    ForeignNetwork,
    Hybrid,
    Plain,
    PotentialDependent,
    Rate,
    SpikingNetwork,
    Surrogate,
    Triangle,
)
from robustsnn.threats import Linf

pytestmark = pytest.mark.usefixtures("unchecked")

STEPS = 4
PATHS = [Surrogate(Triangle(0.7)), Surrogate(Exponential(0.3, 2.0)), Rate(), PotentialDependent(), Analog()]
DETACHED = [Surrogate(Triangle(0.7), detach_reset=True), Rate()]


@pytest.fixture(scope="module")
def jelly():
    return pytest.importorskip("spikingjelly.activation_based", reason="pip install --no-deps spikingjelly loguru")


@pytest.fixture(scope="module")
def snn():
    return pytest.importorskip("snntorch", reason="pip install snntorch")


@pytest.fixture
def weights():
    """Layers whose neurons fire now and then."""
    made = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(256, 12), nn.Linear(12, 4)
    with torch.no_grad():
        made[0].weight.mul_(3)
        made[1].weight.mul_(4)
    return made


def ours(weights, **dynamics):
    conv, hidden, out = weights
    return SpikingNetwork(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), hidden, nn.ReLU(), out), Dynamics(STEPS, **dynamics))


def sequence(weights, make):
    conv, hidden, out = weights
    return nn.Sequential(conv, make(), nn.Flatten(), hidden, make(), out)


@pytest.fixture
def of_jelly(jelly):
    """A network of SpikingJelly over given weights."""
    import spikingjelly.activation_based.functional as functional
    import spikingjelly.activation_based.layer as layer
    import spikingjelly.activation_based.neuron as neuron

    def make(weights, mode="m", kind="IFNode", **options):
        theirs = layer.Conv2d(2, 4, 3, padding=1), layer.Linear(256, 12), layer.Linear(12, 4)
        for mine, other in zip(weights, theirs, strict=True):
            other.weight, other.bias = mine.weight, mine.bias
        node = getattr(neuron, kind)
        net = nn.Sequential(theirs[0], node(**options), layer.Flatten(), theirs[1], node(**options), theirs[2])
        functional.set_step_mode(net, mode)
        return from_spikingjelly(net, STEPS)

    return make


@pytest.fixture
def of_snntorch(snn):
    """A network of snnTorch over given weights."""

    def make(weights, **options):
        return from_snntorch(sequence(weights, lambda: snn.Leaky(init_hidden=True, **options)), STEPS)

    return make


def gradient(view, x):
    x = x.clone().requires_grad_()
    out = view(x)
    return torch.autograd.grad((out * torch.linspace(-1, 1, out.numel(), dtype=x.dtype).view_as(out)).sum(), x)[0]


def agree(theirs, mine, x, paths):
    """Both compute the same, and have the same gradients along the paths."""
    rates = firing_rates(mine, Samples(x, torch.zeros(6, dtype=torch.int64), 4))
    assert all(0.05 < rate < 0.95 for rate in rates.values())
    theirs, mine = theirs.eval(), mine.eval()
    torch.testing.assert_close(theirs.steps(x), mine.steps(x))
    for path in paths:
        found, expected = gradient(path(theirs), x), gradient(path(mine), x)
        assert expected.count_nonzero() > 100
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, path=path: f"{path}: {text}")


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize(
    ("kind", "options", "dynamics"),
    [
        ("IFNode", {}, {}),
        ("IFNode", {"v_reset": None}, {"neuron": LIF(reset="subtract")}),
        ("LIFNode", {"tau": 4.0, "decay_input": False}, {"neuron": LIF(leak=0.75)}),
    ],
    ids=["IF", "IF, soft reset", "LIF"],
)
def test_neurons_of_spikingjelly_are_ours_where_the_equations_are(mode, kind, options, dynamics, of_jelly, weights, images):
    agree(of_jelly(weights, mode, kind, **options), ours(weights, **dynamics), images, PATHS + DETACHED)


@pytest.mark.parametrize(
    ("options", "dynamics", "paths"),
    [
        ({"beta": 0.8, "reset_mechanism": "zero"}, {"neuron": LIF(leak=0.8)}, DETACHED),
        ({"beta": 1.0}, {"neuron": LIF(reset="subtract")}, DETACHED),
        ({"beta": 0.8, "reset_mechanism": "zero", "reset_delay": False}, {"neuron": LIF(leak=0.8)}, PATHS),
    ],
    ids=["zero, one step later", "subtract, one step later", "zero at once"],
)
def test_neurons_of_snntorch_are_ours_where_the_equations_are(options, dynamics, paths, of_snntorch, weights, images):
    agree(of_snntorch(weights, **options), ours(weights, **dynamics), images, paths)


@pytest.fixture(params=["jelly step by step", "jelly", "snntorch", "snntorch, own loop"])
def victim(request, weights):
    """One network of each kind."""
    if request.param.startswith("jelly"):
        make = request.getfixturevalue("of_jelly")
        return make(weights, "m" if request.param == "jelly" else "s", "ParametricLIFNode", init_tau=1.5).eval()
    snn = request.getfixturevalue("snn")
    if request.param == "snntorch":
        conv, hidden, out = weights
        last = snn.Leaky(0.9, init_hidden=True, output=True)
        net = nn.Sequential(conv, snn.Synaptic(0.9, 0.8, init_hidden=True), nn.Flatten(), hidden, snn.Lapicque(0.9), out, last)
        net[4].init_hidden = True
        return from_snntorch(net, STEPS).eval()
    return from_snntorch(Loop(snn, weights), STEPS, run=lambda net, x, timesteps: net(x)[1]).eval()


class Loop(nn.Module):
    """As snnTorch's tutorials write them: the loop over time is the network's own, and so are the potentials."""

    def __init__(self, snn, weights):
        super().__init__()
        self.conv, self.hidden, self.out = weights
        self.lif1, self.lif2, self.lif3 = (snn.Leaky(beta=0.9) for _ in range(3))

    def forward(self, x):
        mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        spikes, potentials = [], []
        for _ in range(STEPS):
            s, mem1 = self.lif1(self.conv(x), mem1)
            s, mem2 = self.lif2(self.hidden(s.flatten(1)), mem2)
            s, mem3 = self.lif3(self.out(s), mem3)
            spikes.append(s)
            potentials.append(mem3)
        return torch.stack(spikes), torch.stack(potentials)


def state(net):
    """What its neurons remember."""
    kept = [*net.buffers()]
    for module in net.modules():
        kept += [value for _, value in module.named_memories()] if hasattr(module, "named_memories") else []
    return [value.clone() if isinstance(value, torch.Tensor) else value for value in kept]


def same(left, right):
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(left, right, strict=True))


def test_a_call_is_pure_and_leaves_the_network_as_it_is(victim, images, unchanged):
    """Even one that somebody has run and not reset."""
    once = victim(images)
    victim.run(victim.net, images[:3], STEPS)
    left = state(victim.net)
    with unchanged(victim):
        for path in [*PATHS, Plain(), Adaptive()]:
            view = path(victim)
            found = gradient(view, images)
            assert found.shape == images.shape
            assert found.isfinite().all()
            if not isinstance(path, Analog):
                assert torch.equal(view(images), once), path
        assert torch.equal(victim(images), once)
    assert same(state(victim.net), left)
    assert victim.timesteps == STEPS


@pytest.mark.parametrize("victim", ["jelly", "snntorch"], indirect=True)
def test_the_whole_evaluation_runs_on_it(victim, unchanged):
    """With the audit on SpikingJelly's; a notebook of the documentation audits one of snnTorch's."""
    victim = ForeignNetwork(victim.net, 2, victim.library, victim.run).eval()
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    data = Samples(x, victim(x).argmax(1), classes=4)
    audited = victim.library.name == "SpikingJelly"
    with unchanged(victim):
        report = evaluate(victim, data, "quick", 0.1, check=Audit(images=int(audited), steps=1, queries=1))
    assert report.clean.value == 1
    members = ("Triangle(width=1.0)", "Exponential(height=1.0, rate=1.0)", "Rate()", "Analog()")
    assert (report.timesteps, report.result("PGD-10", 0.1).members) == (2, members)
    rates = report.found(LAYERS).firing_rates
    assert list(rates) == list(victim.neurons)
    assert 0.01 < max(rates.values()) < 1
    if audited:
        published = map(str, PUBLISHED_PATHS)
        assert set(report.found(PILOT).paths) == {*published, "Adaptive(a=0.43)", "Plain()"}  # for those of thresholds
        checks = {check.name: check.verdict for check in report.audit}
        assert "scale" not in checks  # whose paths need thresholds
        assert {checks[name] for name in ("gradients", "repeats", "logits", "state", "ball and box")} == {"pass"}, checks
    alone = evaluate(victim, data, "quick", 0.1, attacks=["FGSM"], batch=2, check=Audit(images=0))
    assert alone.results[0].broken_by == report.results[0].broken_by


def test_the_networks_own_gradient_stands_for_paths_that_do_not_lead_through_it(of_snntorch, weights, ann):
    paths = [Hybrid(), PotentialDependent(), Adaptive()]
    assert leading(of_snntorch(weights, beta=0.9), paths) == [Plain(), PotentialDependent(), Adaptive()]
    assert leading(ours(weights), paths) == paths
    assert leading(ann, paths) == [Plain()]


def test_firing_rates_are_those_of_our_own_neurons(of_jelly, weights, images):
    data = Samples(images, torch.zeros(6, dtype=torch.int64), 4)
    found, expected = (firing_rates(net, data, batch=4) for net in (of_jelly(weights), ours(weights)))
    assert list(found.values()) == pytest.approx(list(expected.values()))


class Narrow(torch.autograd.Function):
    """A spike with a surrogate so narrow that hardly any gradient passes it."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        return grad * (u.abs() < 0.02)


class Mine(nn.Module):
    """A hand-written layer of neurons, whose spike function stands in an attribute."""

    def __init__(self):
        super().__init__()
        self.spike = Narrow.apply
        self.forget()

    def forget(self):
        self.v = 0.0

    def forward(self, current):
        v = 0.8 * self.v + current
        spikes = self.spike(v - 1.0)
        self.v = v * (1 - spikes)
        return spikes


class OfTheClass(Mine):
    """The same, the function being a method."""

    def __init__(self):
        super().__init__()
        del self.spike

    def spike(self, u):
        return Narrow.apply(u)


class Child(Mine):
    """The same, the function being a module."""

    def __init__(self):
        super().__init__()
        self.spike = Fires()


class Fires(nn.Module):
    def forward(self, u):
        return Narrow.apply(u)


@pytest.mark.parametrize("neuron", [Mine, OfTheClass, Child])
def test_neurons_of_ones_own_are_ours_where_the_equations_are(neuron, weights, images, unchanged):
    net = sequence(weights, neuron)
    net(images[:3])  # somebody has run it and not reset
    left = net[1].v.clone()
    theirs = from_neurons(net, STEPS, reset="forget").eval()
    with unchanged(theirs):
        agree(theirs, ours(weights, neuron=LIF(leak=0.8)), images, PATHS)
    assert torch.equal(net[1].v, left)


def test_all_published_paths_lead_through_neurons_of_ones_own(weights, images):
    """Measured as a plain module the same network has one gradient, which its narrow surrogate hides."""
    net = from_neurons(sequence(weights, Mine), STEPS, reset="forget").eval()
    (group,) = protocol("paper").ensembles["FGSM"]
    assert tuple(member.path for member in members([group], Linf(0.1), net)) == PUBLISHED_PATHS
    assert gradient(Plain()(net), images).count_nonzero() < gradient(Surrogate(Triangle(1.0))(net), images).count_nonzero()


class Itself(nn.Module):
    """Loops over time and averages by itself, and keeps nothing."""

    def __init__(self, weights):
        super().__init__()
        self.conv, self.hidden, self.out = weights
        self.lif1, self.lif2 = Mine(), Mine()

    def forward(self, x):
        self.lif1.forget(), self.lif2.forget()
        steps = [self.out(self.lif2(self.hidden(self.lif1(self.conv(x)).flatten(1)))) for _ in range(STEPS)]
        return torch.stack(steps).mean(0)


def test_a_network_that_loops_by_itself_says_how_it_is_run(weights, images):
    own = from_neurons(Itself(weights), STEPS, reset=None, run=lambda net, x, timesteps: net(x).unsqueeze(0)).eval()
    mine = ours(weights, neuron=LIF(leak=0.8)).eval()
    torch.testing.assert_close(own(images), mine(images))
    torch.testing.assert_close(gradient(Surrogate()(own), images), gradient(Surrogate()(mine), images), rtol=1e-4, atol=1e-5)


def test_a_loop_over_time_inside_the_network_is_seen(weights, images, labels, snn, jelly):
    """It would run T times over, which nothing in its answer shows; whoever tells how it runs is believed."""
    net = from_neurons(Itself(weights), STEPS, reset=None)
    asked = r"Itself runs each neuron 4 times per call, not 1: .*Pass timesteps=4 and run=lambda net, x, timesteps: "
    for call in (lambda: net(images), lambda: evaluate(net, (images, labels), "quick", 0.1, check=Audit(images=0))):
        with pytest.raises(ValueError, match=asked + r"net\(x\)\.unsqueeze\(0\)"):
            call()
    with pytest.raises(ValueError, match=r"Loop runs each neuron 4 times.*timesteps: net\(x\)\[1\]$"):
        from_snntorch(Loop(snn, weights), 1)(images)

    from spikingjelly.activation_based import neuron

    class Twice(nn.Sequential):
        def forward(self, x):
            return torch.stack([super(Twice, self).forward(x) for _ in range(2)])

    theirs = Twice(nn.Flatten(), nn.Linear(128, 4), neuron.IFNode())
    with pytest.raises(ValueError, match=r"Twice runs each neuron 2 times.*timesteps=2 and .*timesteps: net\(x\)$"):
        from_spikingjelly(theirs, STEPS)(images)
    assert from_spikingjelly(theirs, 2, run=lambda net, x, timesteps: net(x))(images).shape == (6, 4)


def test_a_neuron_that_multi_step_mode_calls_once_per_step_is_no_loop(images):
    container = pytest.importorskip("spikingjelly.activation_based.layer").ElementWiseRecurrentContainer
    from spikingjelly.activation_based import functional, layer, neuron

    inner = container(neuron.IFNode(), lambda a, b: a + b)
    net = nn.Sequential(layer.Flatten(), layer.Linear(128, 4), inner)
    functional.set_step_mode(net, "m")
    assert from_spikingjelly(net, STEPS)(images).shape == (6, 4)


class Deaf(Mine):
    def forward(self, current):
        self.v = 0.8 * self.v + current
        return Narrow.apply(self.v - 1.0)


def test_what_is_no_network_of_such_neurons_is_named(weights, images):
    with pytest.raises(ValueError, match="has no neuron of your own: no module has an attribute 'fires'"):
        from_neurons(sequence(weights, Mine), STEPS, spike="fires", reset="forget")
    with pytest.raises(ValueError, match="'v' of neuron '1' is not a function"):
        from_neurons(sequence(weights, Mine), STEPS, spike="v", reset="forget")
    with pytest.raises(ValueError, match="no module of Sequential has a method 'reset': name the method"):
        from_neurons(sequence(weights, Mine), STEPS)
    deaf = from_neurons(sequence(weights, Deaf), STEPS, reset="forget").eval()
    assert deaf(images).shape == (6, 4)
    with pytest.raises(
        ValueError,
        match="Deaf never called 'spike', so gradient paths cannot change its gradient: compute spikes only as self",
    ):
        Surrogate()(deaf)(images)


def test_neurons_whose_weights_are_for_all_steps_are_attacked_along_every_path(of_jelly, jelly, images, labels):
    """Parallel spiking neurons cannot run for one step, which is what a path without time asks of others."""
    import spikingjelly.activation_based.layer as layer
    from spikingjelly.activation_based import functional

    net = nn.Sequential(layer.Flatten(), layer.Linear(128, 16), jelly.neuron.PSN(STEPS), layer.Linear(16, 4))
    functional.set_step_mode(net, "m")
    theirs = from_spikingjelly(net, STEPS).eval()
    for path in PATHS:
        x = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(path(theirs)(x).square().sum(), x)
        assert gradient.isfinite().all()
    assert theirs.fewest == STEPS


@pytest.mark.parametrize(("returned", "which"), [(("s", "m"), 1), (("s", "last"), 0), (("last", "m"), 1)])
def test_the_advice_for_a_loop_over_time_names_the_output_with_all_steps(returned, which, weights, images):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = sequence(weights, Mine)

        def forward(self, x):
            steps = torch.stack([self.one(x) for _ in range(STEPS)])
            return tuple(steps[-1] if part == "last" else steps for part in returned)

    looping = from_neurons(Both(), STEPS, reset="forget").eval()
    with pytest.raises(ValueError, match=rf"run=lambda net, x, timesteps: net\(x\)\[{which}\]"):
        looping(images)
