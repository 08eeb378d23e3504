"""A gallery of defences that fail: the audit flags every one, rigorous attacks break them, and an honest network passes."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from robustsnn.conversion import convert
from robustsnn.data import digits
from robustsnn.evaluation import Audit, evaluate
from robustsnn.models import create
from robustsnn.spiking import Dynamics
from robustsnn.training import Adversarial, Natural, Schedule, train

pytestmark = pytest.mark.usefixtures("unchecked")

EPS = 0.15
HOW = Audit(images=48, steps=60, queries=300)


class _FlatSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u):
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)


class FlatSurrogate(nn.Module):
    """Pixels become the rate of ten spikes whose derivative is 0."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        spikes = [_FlatSpike.apply(x - (step + 0.5) / 10) for step in range(10)]
        return self.net(torch.stack(spikes).mean(0))


class Quantised(nn.Module):
    """Pixels rounded to twelve levels."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net((x * 11).round() / 11)


class Saturated(nn.Module):
    """Logits so large that cross-entropy has no gradient left."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return 1e4 * self.net(x)


class Noisy(nn.Module):
    """Random noise on the pixels of every pass."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x + 0.3 * torch.randn_like(x))


def in_spikes(net):
    """The network converted, four time steps."""
    return convert(net, [x for x, _, _ in digits().train.first(100).batches(50)], Dynamics(4)).requires_grad_(False)


def Rescaled(net):
    """The network in spikes, with thresholds and all that flows into their layers a hundredfold: it computes the same, and no
    published surrogate is wide enough to see a potential near its threshold."""
    snn = in_spikes(net)
    layers = list(snn.body.named_modules())
    for place, (name, module) in enumerate(layers):
        if name in snn.thresholds:
            flows = next(before for _, before in reversed(layers[:place]) if getattr(before, "weight", None) is not None)
            for value in (module.threshold, flows.weight, flows.bias):
                value.mul_(100)
    return snn


@cache
def trained(robust):
    images = digits().train
    ann = create("digits", 10, size=8, channels=1, mean=(0.305,), std=(0.376,), width=0.5)
    objective = Adversarial(eps=EPS, steps=4) if robust else Natural()
    parts = images.take(torch.arange(1000)), images.take(torch.arange(1000, 1100))
    train(ann, *parts, objective, Schedule(8 if robust else 5, 64, 0.1), probe=None)
    return ann


@cache
def measured(defence, protocol):
    """A defence around the natural network; None is the robust network as it is."""
    net = trained(True) if defence is None else defence(trained(False))
    attacks = None if protocol.endswith("toml") else ["PGD-10"]
    return evaluate(net, digits().test.first(100), protocol, EPS, attacks=attacks, check=HOW)


def failed(report):
    return {check.name for check in report.audit if check.verdict == "fail"}


GALLERY = {
    FlatSurrogate: "gradients",
    Quantised: "gradients",
    Saturated: "gradients",
    Rescaled: "scale",
    Noisy: "repeats",
}
every_defence = pytest.mark.parametrize("defence", GALLERY, ids=lambda defence: defence.__name__)


@every_defence
def test_the_audit_flags_what_only_looks_robust(defence):
    report = measured(defence, "quick")
    assert GALLERY[defence] in failed(report), report.audit


@pytest.mark.parametrize("defence", [*GALLERY][:-2], ids=lambda defence: defence.__name__)
def test_stronger_attacks_break_it(defence, tmp_path_factory):
    """What `rigorous` adds to gradients, at a size for tests: scale-free losses, transfer, queries."""
    own = tmp_path_factory.mktemp("protocol") / "strong.toml"
    attacks = {"APGD(steps=20, goal=DLR)": "Plain", "PGD(steps=10)": "sources", "Square(queries=500)": "Plain"}
    groups = (f'[[ensembles.strong]]\nattack = "{attack}"\npaths = ["{path}"]\n' for attack, path in attacks.items())
    own.write_text("".join(groups))
    net = defence(trained(False))
    weak = measured(defence, "quick").results[0].robust
    strong = evaluate(net, digits().test.first(100), str(own), EPS, sources={"twin": trained(False)}, check=Audit(images=0))
    assert strong.results[0].robust.value < 0.3
    assert strong.results[0].robust.value < weak.value - 0.2


def test_an_honest_network_passes():
    report = measured(None, "quick")
    assert failed(report) == set(), [check for check in report.audit if check.verdict == "fail"]
    assert report.results[0].robust.value > 0.5


def test_the_scale_of_a_network_decides_no_verdict(tmp_path):
    """What `rigorous` follows in units of the thresholds breaks a network and the same at another scale alike; what is
    published breaks the one, and not the other."""
    groups = '[[ensembles.{}]]\nattack = "PGD(steps=10)"\npaths = [{}]\n'
    scaled, published = (
        '"Scaled(Triangle(1.0))", "Adaptive(relative=True)"',
        '"Surrogate(Triangle(1.0))", "Surrogate(Exponential(1.0, 2.0))"',
    )
    own = tmp_path / "both.toml"
    own.write_text(groups.format("scaled", scaled) + groups.format("published", published))
    natural = trained(False)
    images, nets = digits().test.first(60), (in_spikes(natural), Rescaled(natural))
    reports = [evaluate(net, images, str(own), EPS, check=Audit(0)) for net in nets]
    one, other = ([result.broken_by for result in report.results] for report in reports)
    assert one[0] == other[0]
    left = [[flags.count(-1) for flags in each] for each in (one, other)]
    assert left[0][1] < 10, left
    assert left[1][1] > left[0][1] + 20, left
    assert left[1][0] < 10, left
