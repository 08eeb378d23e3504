import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustsnn.attacks import FAB
from robustsnn.attacks.fab import to_hyperplane
from robustsnn.seeds import generator, image_seeds
from robustsnn.threats import L2, Linf

EPS = 0.1
EVERY = [FAB(6), FAB(3, targets=2, restarts=3)]
every = pytest.mark.parametrize("attack", EVERY, ids=repr)
SEEDS = image_seeds(torch.arange(6), 0, "test")
PIXELS = st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12).map(lambda v: torch.tensor(v).double().view(2, 2, 3, 1))
WEIGHTS = st.lists(st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.3, -2.5, 7.0]), min_size=12, max_size=12).map(
    lambda v: torch.tensor(v).double().view(2, 2, 3, 1)
)


def hilly(x):
    """Four classes, smooth, float64; sums do not depend on the batch."""
    weight = torch.randn(4, 2, 8, 8, generator=generator(5), dtype=torch.float64)
    return torch.stack([torch.sin(3 * x.double() * w).sum((1, 2, 3)) for w in weight], 1)


def linear(classes, distances):
    """A linear model and images ``[len(distances), 1, 2, 2]`` of class 0, that far in L∞ from class 1; others are further."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, classes))
    model[1].weight.data = torch.zeros(classes, 4)
    model[1].weight.data[1:] = torch.tensor([1.0, -2.0, 3.0, 2.0])
    model[1].bias.data = -2.0 * torch.arange(classes)
    x = torch.tensor([0.5, 0.5, 0.5, 0.5]).repeat(len(distances), 1)  # <w, x> = 2
    x = x - torch.tensor(distances)[:, None] * torch.tensor([1.0, -1.0, 1.0, 1.0])
    return model, x.view(-1, 1, 2, 2)


@given(PIXELS, WEIGHTS, st.floats(-8, 8))
def test_the_projection_is_the_nearest_point_of_hyperplane_and_box(x, w, rise):
    d = to_hyperplane(Linf(), x, w, torch.full((2,), rise, dtype=torch.float64))
    assert ((x + d >= -1e-12) & (x + d <= 1 + 1e-12)).all()
    towards = w.sign() * (1 if rise > 0 else -1)
    reach = lambda amount: (w * ((x + amount * towards).clamp(0, 1) - x)).flatten(1).sum(1)  # noqa: E731
    size = d.abs().amax((1, 2, 3))
    for i, gained in enumerate((w * d).flatten(1).sum(1)):
        if abs(reach(1.0)[i]) >= abs(rise):
            assert gained == pytest.approx(rise, abs=1e-9)
            assert abs(reach(size[i] * (1 - 1e-6))[i]) <= abs(rise) + 1e-9  # no smaller step reaches it
        else:
            assert gained == pytest.approx(reach(1.0)[i].item(), abs=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12])
@pytest.mark.parametrize("threat", [Linf(), L2()], ids=str)
def test_the_projection_does_not_depend_on_the_scale_of_the_plane(scale, threat):
    x, w = torch.rand(2, 2, 3, 1, generator=generator(0)), torch.randn(2, 2, 3, 1, generator=generator(1))
    rise = torch.tensor([0.7, -0.4])
    torch.testing.assert_close(to_hyperplane(threat, x, scale * w, scale * rise), to_hyperplane(threat, x, w, rise))


def test_where_the_plane_has_no_direction_nothing_moves():
    x = torch.rand(2, 2, 3, 1, generator=generator(0))
    for rise in (0.0, 1.0, -1.0):
        assert torch.equal(to_hyperplane(Linf(), x, torch.zeros_like(x), torch.full((2,), rise)), torch.zeros_like(x))


@every
def test_results_lie_in_ball_and_box(net, images, labels, attack):
    images = images.round()
    for rng in (generator(0), SEEDS):
        adv = attack(net, images, labels, Linf(EPS), rng=rng)
        assert (adv - images).abs().max() <= EPS + 1e-6
        assert adv.min() >= 0
        assert adv.max() <= 1
        assert (adv.shape, adv.dtype) == (images.shape, images.dtype)


@every
def test_network_images_and_global_generator_are_left_alone(net, images, labels, attack, unchanged):
    before = images.clone(), labels.clone(), SEEDS.clone()
    with unchanged(net):
        adv = attack(net, images.clone().requires_grad_(), labels, Linf(EPS), rng=SEEDS)
        with torch.no_grad():
            assert torch.equal(attack(net, images, labels, Linf(EPS), rng=SEEDS), adv)
    assert not adv.requires_grad
    assert all(map(torch.equal, (images, labels, SEEDS), before))


@every
@pytest.mark.parametrize("chosen", [[3], [5, 4, 3, 2, 1, 0], [1, 4], [2, 2, 2]], ids=str)
def test_what_an_image_becomes_depends_on_itself_and_its_seed_alone(images, attack, chosen):
    x, y = images.double(), hilly(images).argmax(1)
    judge = lambda iterates, index: (hilly(iterates).argmax(1) != y[index]) & (x[index, 0, 0, 0] > 0.3)  # noqa: E731
    some_judge = lambda iterates, index: judge(iterates, torch.tensor(chosen)[index])  # noqa: E731
    for whole, part in ((None, None), (judge, some_judge)):
        everyone = attack(hilly, x, y, Linf(EPS), rng=SEEDS, judge=whole)
        some = attack(hilly, x[chosen], y[chosen], Linf(EPS), rng=SEEDS[chosen], judge=part)
        torch.testing.assert_close(some, everyone[chosen], rtol=0, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_on_a_linear_model_the_smallest_adversarial_distance_is_found(classes):
    distances = [0.05, 0.1, 0.2, 0.3]
    model, x = linear(classes, distances)
    adv = FAB(20)(model, x, torch.zeros(4, dtype=torch.int64), Linf(0.5), rng=generator(0))
    assert (model(adv).argmax(1) != 0).all()
    size = (adv - x).abs().amax((1, 2, 3))
    assert (size >= torch.tensor(distances) - 1e-6).all()
    torch.testing.assert_close(size, torch.tensor(distances), rtol=0.01, atol=0)


def test_what_lies_further_than_eps_is_clipped_to_the_ball():
    model, x = linear(3, [0.05, 0.3])
    adv = FAB(20)(model, x, torch.zeros(2, dtype=torch.int64), Linf(0.2), rng=generator(0))
    assert model(adv).argmax(1).tolist() == [1, 0]
    assert (adv[1] - x[1]).abs().max() == pytest.approx(0.2)


def test_where_nothing_is_found_the_clean_image_is_returned(images):
    flat = lambda x: torch.stack([1 + 0 * x.sum((1, 2, 3)), 0 * x.sum((1, 2, 3))], 1)  # noqa: E731
    assert torch.equal(FAB(4, restarts=2)(flat, images, torch.zeros(6, dtype=torch.int64), Linf(EPS), rng=SEEDS), images)


def test_an_image_misclassified_as_it_is_stays_as_it_is_and_costs_nothing(ann, images):
    y = ann(images).argmax(1)
    y[2] = (y[2] + 1) % 4
    calls = []
    ann.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    adv = FAB(3, targets=1)(ann, images, y, Linf(EPS), rng=SEEDS)
    assert calls == [6] + [5] * 6
    assert torch.equal(adv[2], images[2])


def test_more_restarts_and_more_targets_never_find_a_larger_distance(images):
    x, y = images.double(), hilly(images).argmax(1)

    def size(**counts):
        attack = FAB(8, **counts)
        adv = attack(hilly, x, y, Linf(1.0), rng=SEEDS)
        broken = hilly(adv).argmax(1) != y
        return torch.where(broken, (adv - x).abs().amax((1, 2, 3)), torch.inf)

    assert size(targets=1).isfinite().all()
    assert (size(targets=3) <= size(targets=1)).all()
    assert (size(targets=1, restarts=3) <= size(targets=1)).all()


def test_a_judge_is_asked_about_iterates_in_the_ball_only_and_its_word_ends_the_search(images):
    x, y = images.double(), hilly(images).argmax(1)
    shown = []

    def judge(iterates, index):
        shown.append((iterates.clone(), index.clone()))
        assert ((iterates - x[index]).abs().amax((1, 2, 3)) <= EPS).all()
        return (index == 1) & (len(shown) == 3)

    adv = FAB(5)(hilly, x, y, Linf(EPS), rng=SEEDS, judge=judge)
    iterates, index = shown[2]
    assert 1 in index
    assert torch.equal(adv[1], Linf(EPS).project(iterates[index == 1], x[1:2])[0])
    assert all(1 not in index for _, index in shown[3:])
    assert len(shown) > 5


def test_a_judge_that_breaks_nothing_changes_nothing(images):
    x, y = images.double(), hilly(images).argmax(1)
    for attack in EVERY:
        judged = attack(hilly, x, y, Linf(EPS), rng=SEEDS, judge=lambda iterates, index: index < 0)
        assert torch.equal(judged, attack(hilly, x, y, Linf(EPS), rng=SEEDS))


def test_the_search_ends_when_every_image_is_broken(ann, images, labels):
    calls = []
    ann.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    FAB()(ann, images, labels, Linf(EPS), rng=SEEDS, judge=lambda iterates, index: index >= 0)
    assert calls == [6]


def test_without_a_radius_nothing_moves(net, images, labels):
    assert torch.equal(FAB(3)(net, images, labels, Linf(0.0), rng=SEEDS), images)


def test_no_images_are_no_trouble(net, images, labels):
    for attack in EVERY:
        assert attack(net, images[:0], labels[:0], Linf(EPS), rng=SEEDS[:0]).shape == (0, 2, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"steps": 0}, "steps of FAB must be a whole number of at least 1"),
        ({"targets": 0}, "target"),
        ({"restarts": 1.5}, "restart"),
        *(({"alpha_max": value}, "alpha_max") for value in (-0.1, 1.1, math.nan)),
        *(({"eta": value}, "eta") for value in (0.9, math.inf, math.nan)),
        *(({"beta": value}, "beta") for value in (0, 1, math.nan)),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(arguments, line, unchecked):
    with pytest.raises(ValueError, match=line):
        FAB(**arguments)


def test_one_class_is_refused(images):
    with pytest.raises(ValueError, match="two or more classes"):
        FAB(3)(lambda x: x[:, :1, 0, 0], images, torch.zeros(6, dtype=torch.int64), Linf(EPS), rng=SEEDS)
