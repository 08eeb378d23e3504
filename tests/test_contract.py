"""What network and data owe each other is asked before anything is measured or trained, and what the caller has switched on
around changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustsnn import evaluate, train
from robustsnn.attacks import ATTACKS, FGSM
from robustsnn.data import Samples, answers
from robustsnn.evaluation import Audit
from robustsnn.seeds import generator, image_seeds
from robustsnn.threats import Flips, Linf
from robustsnn.training import Natural, Schedule

pytestmark = pytest.mark.usefixtures("unchecked")

X = torch.rand(12, 1, 4, 4, generator=generator(0, "test contract"))
DATA = Samples(X, torch.arange(12) % 3, 3)


def body(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, classes))


def damaged(value, whole=False):
    net = body()
    with torch.no_grad():
        (net[1].weight if whole else net[3].bias[:1]).fill_(value)
    return net


def made_in_inference_mode():
    with torch.inference_mode():
        return body()


def quantised():
    return nn.Sequential(nn.Flatten(), torch.ao.nn.quantized.dynamic.Linear(16, 3))


class Cast(nn.Module):
    def forward(self, x):
        return x.bfloat16()


class Twice(nn.Module):
    def forward(self, x):
        return x, x


ODD = {
    "one logit": (lambda: body(1), DATA, "return two logits"),
    "NaN": (lambda: damaged(torch.nan, True), DATA, "NaN or infinite"),
    "one logit is NaN": (lambda: damaged(torch.nan), DATA, "NaN or infinite"),
    "infinite": (lambda: damaged(torch.inf), DATA, "NaN or infinite"),
    "labels from 1": (body, Samples(X, DATA.labels + 1, 4), r"labels go up to 3, but Sequential has logits for 0 \.\. 2 only"),
    "float64": (lambda: body().double(), DATA, r"float64, but inputs are float32: use net.float\(\)"),
    "float16": (lambda: body().half(), DATA, r"float16, but inputs are float32: use net.float\(\)"),
    "bfloat16": (lambda: body().bfloat16(), DATA, r"bfloat16, but inputs are float32: use net.float\(\)"),
    "answers in bfloat16": (lambda: nn.Sequential(body(), Cast()), DATA, "logits of torch.bfloat16: return float32"),
    "another shape": (body, Samples(X[:, :, :3], DATA.labels, 3), r"cannot take inputs \[2, 1, 3, 4\]: .*it was made for"),
    "channels last": (
        lambda: nn.Conv2d(3, 3, 5),
        Samples(torch.rand(12, 5, 5, 3), DATA.labels, 3),
        r"\[2, 5, 5, 3\]: .*put channels first, as \[N,C,H,W\]",
    ),
    "maps": (lambda: nn.Conv2d(1, 3, 1), DATA, r"returns \[2, 3, 4, 4\] for 2 inputs: return logits \[2, K\]"),
    "two answers": (lambda: nn.Sequential(body(), Twice()), DATA, r"returns a tuple for 2 inputs: .*wrap .*interop\.md"),
    "every step": (lambda: nn.Sequential(body(), nn.Unflatten(1, (1, 3))), DATA, r"returns \[2, 1, 3\] .*wrap .*interop\.md"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), DATA, "'1.weight' of Sequential has no shape yet"),
    "meta": (lambda: body().to("meta"), DATA, "'1.weight' of Sequential is on the 'meta' device"),
    "quantised": (lambda: quantised(), DATA, "layer '1' of Sequential is quantised"),
    "made in inference mode": (made_in_inference_mode, DATA, "has no gradients: make or load it outside"),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_network_that_does_not_fit_is_refused_before_it_is_measured_or_trained(kind):
    make, data, line = ODD[kind]
    with pytest.raises(ValueError, match=line):
        answers(make(), data)
    with pytest.raises(ValueError, match=line):
        evaluate(make(), data, "quick", 0.1, check=Audit(images=0))
    with pytest.raises(ValueError, match=line):
        train(make(), data, data, Natural(), Schedule(epochs=1), probe=None)


def test_one_that_fits_is_left_alone(unchanged):
    net = body()
    with unchanged(net):
        assert torch.equal(answers(net, DATA), net(X[:2]).detach())


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int16], ids=str)
def test_labels_of_any_integer_type_are_taken(kind):
    found = [evaluate(body_of(0), (X, y), "quick", 0.1, check=Audit(images=0)) for y in (DATA.labels, DATA.labels.to(kind))]
    alike = [[result.model_copy(update={"seconds": ()}) for result in report.results] for report in found]
    assert alike[0] == alike[1]


def body_of(seed):
    torch.manual_seed(seed)
    return body()


AROUND = {
    "inference mode": torch.inference_mode,
    "no gradient": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("around", AROUND)
def test_what_is_switched_on_around_changes_nothing(around):
    def measure(net, data):
        history = train(net, data, data, "Adversarial(eps=0.1, steps=1)", Schedule(epochs=2, lr=0.1, batch=4))
        report = evaluate(net, data, "quick", 0.1, check=Audit(images=4, steps=2, queries=2))
        return (
            [epoch.loss for epoch in history],
            [result.model_copy(update={"seconds": ()}) for result in report.results],
            report.audit,
        )

    outside = measure(body_of(0), DATA)
    net = body_of(0)
    with AROUND[around]():
        inside = measure(net, (X.clone(), DATA.labels.clone()))
    assert inside == outside
    assert len({*outside[1][0].broken_by}) > 1


STEPS = {"PGD": {"steps": 2}, "APGD": {"steps": 3}, "TargetedAPGD": {"steps": 3}, "SAPGD": {"steps": 3}}
QUICK = {
    **STEPS,
    "Square": {"queries": 5},
    "FAB": {"steps": 2},
    "NES": {"queries": 100},
    "EventPGD": {"steps": 2},
    "EventSearch": {"queries": 20},
    "SDA": {"rounds": 2},
}
SEEDS = image_seeds(torch.arange(12), 0)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_check_what_they_are_given_and_leave_inference_mode(name):
    attack, net = ATTACKS[name](**QUICK.get(name, {})), body_of(0).eval()
    x, threat = (X, Linf(8 / 255)) if issubclass(Linf, attack.follows) else ((X > 0.5).float(), Flips(40))
    outside = attack(net, x, DATA.labels, threat, rng=SEEDS)
    assert torch.equal(attack(net, x, DATA.labels.int(), threat, rng=SEEDS), outside)
    with torch.inference_mode():
        assert torch.equal(attack(net, x.clone(), DATA.labels.clone(), threat, rng=SEEDS), outside)
    assert name == "FAB" or not torch.equal(outside, x)  # which needs more steps to find anything
    with pytest.raises(ValueError, match=r"float samples in \[0, 1\], not torch.uint8: convert bytes with x.float\(\) / 255"):
        attack(net, (x * 255).to(torch.uint8), DATA.labels, threat, rng=SEEDS)
    for values in (x * 2, x - 0.5, x * torch.nan):
        with pytest.raises(
            ValueError, match=r"samples must be (in \[0, 1\]|whole numbers of events from 0 to 1), but range over"
        ):
            attack(net, values, DATA.labels, threat, rng=SEEDS)
    for values, labels in ((x.numpy(), DATA.labels), (x, DATA.labels.tolist())):
        with pytest.raises(ValueError, match=r"attacks take tensors, not (ndarray|list)"):
            attack(net, values, labels, threat, rng=SEEDS)
    for labels in (DATA.labels.float(), DATA.labels[:5], DATA.labels[:, None]):
        with pytest.raises(ValueError, match=r"labels must be integers \[12\], one per sample"):
            attack(net, x, labels, threat, rng=SEEDS)


def test_a_clear_gradient_is_followed_in_inference_mode():
    net = body_of(0)
    with torch.inference_mode():
        moved = FGSM()(net, torch.full_like(X, 0.5), DATA.labels, Linf(0.1), rng=SEEDS)
    assert (moved - 0.5).abs().max() == pytest.approx(0.1)
