import importlib
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from robustsnn.attacks import (
    APGD,
    ATTACKS,
    DLR,
    FGSM,
    PGD,
    RFGSM,
    SAPGD,
    Boundary,
    CrossEntropy,
    Gaussian,
    KullbackLeibler,
    TargetedAPGD,
    ascend,
    input_gradient,
)
from robustsnn.seeds import generator, image_seeds
from robustsnn.threats import L2, Linf

EPS = 0.1
EVERY_ATTACK = [
    FGSM(),
    RFGSM(),
    RFGSM(alpha=0.5, goal=KullbackLeibler()),
    PGD(steps=4),
    PGD(steps=3, restarts=3),
    PGD(steps=3, goal=KullbackLeibler(), start=Gaussian()),
    PGD(steps=3, start=Boundary()),
    APGD(steps=6),
    APGD(steps=5, goal=DLR(), restarts=2),
    TargetedAPGD(steps=3, restarts=2),
    TargetedAPGD(steps=4, targets=2),
    SAPGD(steps=4),
    SAPGD(steps=3, restarts=2, goal=KullbackLeibler()),
]
EXACT = [FGSM(), PGD(1), PGD(5, restarts=3), APGD(1), APGD(9), TargetedAPGD(3), SAPGD(10)]
RANDOM = [RFGSM(), PGD(3), APGD(3), TargetedAPGD(3), SAPGD(3)]
every_attack = pytest.mark.parametrize("attack", EVERY_ATTACK, ids=repr)
every_threat = pytest.mark.parametrize("threat", [Linf(EPS), L2(EPS)], ids=str)
SEEDS = image_seeds(torch.arange(6), 0, "test")


def linear(classes=2, *, low=0.2):
    """A linear model on ``[N, 2, 8, 8]`` with two or more classes and no small difference of weights."""
    weight = torch.rand(classes, 128, generator=generator(3, "linear")) * 0.1
    weight[1] = weight[0] + (low + weight[1]) * torch.where(torch.arange(128) % 3 == 0, -0.1, 0.1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, classes))
    model[1].weight.data, model[1].bias.data = weight, torch.zeros(classes)
    return model


def other_way(model, labels):
    """For each image the gradient of (the other class's logit - its own)."""
    difference = (model[1].weight[1] - model[1].weight[0]).detach().view(1, 2, 8, 8)
    return torch.where(labels.view(-1, 1, 1, 1) == 0, difference, -difference)


@every_attack
@every_threat
def test_adversarial_images_lie_in_ball_and_box(net, images, labels, attack, threat):
    images = images.round()  # the box cuts the ball at every pixel
    for rng in (generator(0), SEEDS):
        adv = attack(net, images, labels, threat, rng=rng)
        assert threat.contains(adv, images).all()
        assert (adv != images).flatten(1).any(1).all()
        assert (adv.shape, adv.dtype) == (images.shape, images.dtype)


@every_attack
@pytest.mark.parametrize("victim", ["ann", "net"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_an_attack_leaves_network_images_and_global_generator_alone(
    request, images, labels, attack, victim, training, unchanged
):
    model = request.getfixturevalue(victim).eval()
    for module in model.modules():
        module.training = training and not isinstance(module, nn.BatchNorm2d)
    before = images.clone(), labels.clone(), SEEDS.clone()
    with unchanged(model):
        attack(model, images, labels, Linf(EPS), rng=SEEDS)
        attack(model, images, labels, Linf(EPS), rng=generator(0))
    assert all(map(torch.equal, (images, labels, SEEDS), before))


@every_attack
def test_an_attack_returns_images_without_a_graph(ann, images, labels, attack):
    assert not attack(ann, images, labels, Linf(EPS), rng=SEEDS).requires_grad
    assert not attack(ann, images.clone().requires_grad_(), labels, Linf(EPS), rng=SEEDS).requires_grad


@every_attack
def test_an_attack_works_where_gradients_are_switched_off(ann, images, labels, attack):
    expected = attack(ann, images, labels, Linf(EPS), rng=SEEDS)
    with torch.no_grad():
        assert torch.equal(attack(ann, images, labels, Linf(EPS), rng=SEEDS), expected)


@pytest.mark.parametrize("attack", EXACT, ids=repr)
def test_on_a_linear_model_the_worst_image_of_the_linf_ball_is_found(images, labels, attack):
    model, labels = linear(), labels % 2
    expected = (images + EPS * other_way(model, labels).sign()).clamp(0, 1)
    torch.testing.assert_close(attack(model, images, labels, Linf(EPS), rng=SEEDS), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("attack", "close"), [(FGSM(), 1e-6), (APGD(100), 1e-4)], ids=["FGSM", "APGD"])
def test_on_a_linear_model_the_worst_image_of_the_l2_ball_is_found(labels, attack, close):
    model, labels, images = linear(), labels % 2, torch.full((6, 2, 8, 8), 0.5)
    direction = other_way(model, labels)
    expected = images + EPS * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(attack(model, images, labels, L2(EPS), rng=SEEDS), expected, rtol=0, atol=close)


def test_rfgsm_is_a_corner_of_alpha_eps_and_a_gradient_step_of_the_rest():
    model, x, y = linear(), torch.full((500, 2, 8, 8), 0.5), torch.zeros(500, dtype=torch.int64)
    moved = (RFGSM(alpha=0.25)(model, x, y, Linf(EPS), rng=generator(0)) - x) * other_way(model, y).sign() / EPS
    up, down = (torch.isclose(moved, torch.tensor(value), atol=1e-5) for value in (1.0, 0.5))
    assert (up | down).all()
    assert up.float().mean() == pytest.approx(0.5, abs=0.01)


@every_attack
def test_without_a_radius_nothing_moves(net, images, labels, attack):
    assert torch.equal(attack(net, images, labels, Linf(0.0), rng=SEEDS), images)


@every_attack
@every_threat
@pytest.mark.parametrize(
    "chosen", [[3], [5, 4, 3, 2, 1, 0], [1, 4], [2, 2, 2]], ids=["alone", "reversed", "among others", "repeated"]
)
def test_what_an_image_becomes_depends_on_itself_and_its_seed_alone(images, labels, attack, threat, chosen):
    model = linear(classes=4).double()
    x = images.double()
    everyone = attack(model, x, labels, threat, rng=SEEDS)
    some = attack(model, x[chosen], labels[chosen], threat, rng=SEEDS[chosen])
    torch.testing.assert_close(some, everyone[chosen], rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", RANDOM, ids=repr)
def test_randomness_comes_from_rng_alone(net, images, labels, attack):
    draw = lambda rng: attack(net, images, labels, Linf(EPS), rng=rng)  # noqa: E731
    for make in (generator, lambda seed: image_seeds(torch.arange(6), seed)):
        assert torch.equal(draw(make(0)), draw(make(0)))
        assert not torch.equal(draw(make(0)), draw(make(1)))


def test_any_number_of_restarts_can_be_drawn_from_seeds(ann, images, labels):
    assert PGD(1, restarts=20)(ann, images, labels, Linf(EPS), rng=SEEDS).shape == images.shape


class Judge:
    """Calls each image broken at a call of its own, and keeps what it was shown."""

    def __init__(self, breaks_at):
        self.breaks_at = torch.tensor(breaks_at)
        self.shown = []

    def __call__(self, iterates, index):
        self.shown.append((iterates.clone(), index.clone()))
        return self.breaks_at[index] == len(self.shown)


@every_threat
def test_a_broken_image_keeps_the_iterate_that_broke_it_and_costs_nothing_more(ann, images, labels, threat):
    judge, attack = Judge([2, 1, 9, 3, 9, 1]), PGD(4)
    calls = []
    ann.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    adv = attack(ann, images, labels, threat, rng=SEEDS, judge=judge)
    assert [index.tolist() for _, index in judge.shown] == [[0, 1, 2, 3, 4, 5], [0, 2, 3, 4], [2, 3, 4], [2, 4]]
    assert calls == [6, 4, 3, 2]
    for image, when in enumerate([2, 1, 4, 3, 4, 1]):
        iterates, index = judge.shown[when - 1]
        assert torch.equal(adv[image], iterates[index == image][0])


def test_a_judge_that_breaks_nothing_changes_nothing(ann, images, labels):
    for attack in EVERY_ATTACK:
        judged = attack(
            ann, images, labels, Linf(EPS), rng=SEEDS, judge=lambda iterates, index: torch.zeros(len(index), dtype=torch.bool)
        )
        assert torch.equal(judged, attack(ann, images, labels, Linf(EPS), rng=SEEDS))


def test_an_attack_ends_when_every_image_is_broken(ann, images, labels):
    judge = Judge([1] * 6)
    PGD(10)(ann, images, labels, Linf(EPS), rng=SEEDS, judge=judge)
    assert len(judge.shown) == 1


def test_ascend_takes_projected_steps_along_the_gradient():
    model, x, y = linear(), torch.full((2, 2, 8, 8), 0.5), torch.tensor([0, 1])
    losses = CrossEntropy().on(model, x, y)
    moved = ascend(model, x, losses, threat=Linf(0.1), start=x, step=0.03, steps=2)
    torch.testing.assert_close(moved, x + 0.06 * other_way(model, y).sign())
    assert torch.equal(ascend(model, x, losses, threat=L2(0.0), start=x, step=0.03, steps=2), x)


def test_the_input_gradient_is_that_of_each_image_alone(ann, images, labels):
    losses = CrossEntropy().on(ann, images, labels)
    together = input_gradient(ann, images, losses, torch.arange(6))
    alone = [input_gradient(ann, images[i : i + 1], losses, torch.tensor([i])) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_no_images_are_no_trouble(net, images, labels):
    for attack in EVERY_ATTACK:
        assert attack(net, images[:0], labels[:0], Linf(EPS), rng=SEEDS[:0]).shape == (0, 2, 8, 8)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        *((lambda alpha=alpha: RFGSM(alpha=alpha), "alpha") for alpha in (-0.1, 1.1, math.nan)),
        (lambda: PGD(steps=0), "steps of PGD must be a whole number of at least 1, not 0"),
        (lambda: PGD(steps=-3), "steps of PGD must be a whole number of at least 1, not -3"),
        (lambda: PGD(steps=2.5), "step"),
        (lambda: PGD(restarts=0), "restarts of PGD must be a whole number of at least 1"),
    ],
)
def test_attacks_out_of_range_are_refused(make, line, unchecked):
    with pytest.raises(ValueError, match=line):
        make()


@pytest.mark.parametrize(("name", "field"), [("RFGSM", "alpha"), ("PGD", "stride")])
def test_attacks_out_of_range_are_refused_by_optimised_python_too(name, field):
    room = vars(importlib.import_module("robustsnn.attacks.gradient"))
    optimised = {"__name__": room["__name__"]}
    exec(compile(Path(room["__file__"]).read_text(), room["__file__"], "exec", optimize=1), optimised)
    with pytest.raises(ValueError, match=field):
        optimised[name](**{field: -0.1})


def test_attacks_are_values_known_by_name():
    assert PGD() == PGD() != PGD(steps=3)
    assert {name: made.__name__ for name, made in ATTACKS.items()} == {name: name for name in ATTACKS}


@pytest.mark.parametrize("attack", [FGSM(), PGD(3)], ids=str)
def test_a_model_that_cuts_the_graph_has_no_gradient(attack, images, labels):
    def cut(x):
        return torch.from_numpy(x.detach().flatten(1)[:, :4].numpy().copy())

    adv = attack(cut, images, labels, Linf(EPS), rng=torch.Generator().manual_seed(0))
    assert (adv - images).abs().max() <= 0.1 + 1e-6


class Spoiled(torch.autograd.Function):
    """The images, with a gradient that is no number in their first pixel and infinite in the next two."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        grad = grad.clone()
        grad.flatten(1)[:, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
        return grad


@pytest.mark.parametrize("attack", [FGSM(), PGD(4), APGD(4), SAPGD(4)], ids=repr)
def test_a_gradient_that_is_no_number_in_one_pixel_leads_in_the_others(attack, ann, images, labels):
    seeds = image_seeds(torch.arange(6), 0, "test")
    whole, spoiled = (attack(net, images, labels, Linf(EPS), rng=seeds) for net in (ann, lambda x: ann(Spoiled.apply(x))))
    assert spoiled.isfinite().all()
    before, most, found = (nn.functional.cross_entropy(ann(x), labels) for x in (images, whole, spoiled))
    assert found - before > 0.8 * (most - before) > 0
