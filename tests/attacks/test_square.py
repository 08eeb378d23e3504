import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.attacks import Square
from robustsnn.attacks.square import Corners, Energy, area, bump
from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.threats import L2, Linf

EPS = 0.1
EVERY = [(Square(30), Linf(EPS)), (Square(30), L2(0.6)), (Square(12, p=0.3, restarts=3), Linf(EPS))]
every = pytest.mark.parametrize(("attack", "threat"), EVERY, ids=str)
BOTH = pytest.mark.parametrize("kind", [Linf, L2])
SEEDS = image_seeds(torch.arange(6), 0, "test")
CHANCES = st.integers(0, 2**31).map(lambda seed: torch.rand(6, 7, generator=generator(seed)))


def curved(x):
    """Two classes, the first one always far ahead: nothing breaks. Sums do not depend on the batch."""
    z = torch.sin(torch.arange(128.0).view(2, 8, 8).double() * x.double()).sum((1, 2, 3))
    return torch.stack([1000 - z, z], 1)


def ramp(x):
    """A linear model of which class 0 is always ahead; no two weights of a channel are equal, and their signs change."""
    weight = torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0, -8.0, 9.0]).view(1, 3, 3)
    z = (x * torch.cat([weight, -weight])).sum((1, 2, 3))
    return torch.stack([100 - z, 0 * z], 1)


@every
def test_results_lie_in_ball_and_box(net, images, labels, attack, threat):
    images = images.round()
    for rng in (generator(0), SEEDS):
        adv = attack(net, images, labels, threat, rng=rng)
        assert threat.contains(adv, images).all()
        assert (adv.shape, adv.dtype) == (images.shape, images.dtype)


@every
def test_network_images_and_global_generator_are_left_alone(net, images, labels, attack, threat, unchanged):
    before = images.clone(), labels.clone(), SEEDS.clone()
    with unchanged(net):
        adv = attack(net, images.clone().requires_grad_(), labels, threat, rng=SEEDS)
    assert not adv.requires_grad
    assert all(map(torch.equal, (images, labels, SEEDS), before))


@every
@pytest.mark.parametrize("chosen", [[3], [5, 4, 3, 2, 1, 0], [1, 4], [2, 2, 2]], ids=str)
def test_what_an_image_becomes_depends_on_itself_and_its_seed_alone(images, attack, threat, chosen):
    x, y = images.double(), torch.zeros(6, dtype=torch.int64)
    judge = lambda iterates, index: iterates[:, 0, 0, 0] > 0.8  # noqa: E731
    for ask in (None, judge):
        everyone = attack(curved, x, y, threat, rng=SEEDS, judge=ask)
        some = attack(curved, x[chosen], y[chosen], threat, rng=SEEDS[chosen], judge=ask)
        torch.testing.assert_close(some, everyone[chosen], rtol=0, atol=1e-9)


@every
def test_only_forward_passes_are_used(images, labels, attack, threat):
    def model(x):
        assert not torch.is_grad_enabled()
        return torch.stack([(x * 100).round().sum((1, 2, 3)), 1000 - (x[:, 0] * 100).round().sum((1, 2))], 1)

    with torch.no_grad():
        attack(model, images, labels % 2, threat, rng=SEEDS)


def test_the_area_halves_at_the_papers_queries_rescaled_to_ten_thousand():
    changes = [query for query in range(1, 10_000) if area(query, 10_000, 0.8) != area(query - 1, 10_000, 0.8)]
    assert changes == [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert area(9_999, 10_000, 0.8) == 0.8 / 512
    assert [area(query, 100, 0.8) for query in range(100)] == [area(100 * query, 10_000, 0.8) for query in range(100)]


@pytest.mark.parametrize(("queries", "p"), [(1, 0.8), (3, 1.0), (40, 0.2)])
def test_every_pixel_of_an_linf_iterate_is_at_the_edge_of_ball_or_box(queries, p, images):
    adv = Square(queries, p)(curved, images, torch.zeros(6, dtype=torch.int64), Linf(EPS), rng=SEEDS)
    up, down = (images + EPS).clamp(max=1), (images - EPS).clamp(min=0)
    assert (torch.isclose(adv, up) | torch.isclose(adv, down)).all()


def test_the_linf_search_starts_with_vertical_stripes():
    x = torch.full((200, 3, 4, 5), 0.5)
    signs = (Corners(Linf(EPS)).start(x, noise(generator(0))) - x) / EPS
    torch.testing.assert_close(signs, signs[:, :, :1].expand_as(signs))
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    assert signs[:, :, 0].mean(0).abs().max() < 0.25
    assert (signs[:, 0] != signs[:, 1]).any()


@given(CHANCES, st.floats(0.001, 1))
def test_an_linf_move_changes_one_square_inside_the_image_by_one_sign_per_channel(chance, p):
    x = torch.full((6, 2, 5, 8), 0.5)
    changed = Corners(Linf(EPS)).move(x, x, p, chance) - x
    side = min(max(round(math.sqrt(p * 40)), 1), 5)
    for delta in changed:
        for channel in delta:
            rows, columns = (channel.abs().amax(axis).nonzero().flatten() for axis in (1, 0))
            assert len(rows) == len(columns) == side
            assert rows[-1] - rows[0] == columns[-1] - columns[0] == side - 1
            square = channel[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            torch.testing.assert_close(square, square[0, 0].sign() * EPS * torch.ones(side, side))


@pytest.mark.parametrize("search", [Corners(Linf(EPS)), Energy(L2(EPS))], ids=repr)
def test_squares_reach_every_pixel_and_every_place_alike(search):
    x = torch.full((3000, 1, 4, 5), 0.5)
    moved = search.move(x, x, 0.2 if isinstance(search, Corners) else 0.4, torch.rand(3000, 6, generator=generator(0)))
    touched = ((moved - x)[:, 0] != 0).float().mean(0)
    side = 2 if isinstance(search, Corners) else 3
    corners = touched[[0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, torch.full((4,), 1 / ((5 - side) * (6 - side))), rtol=0, atol=0.03)


def test_a_bump_is_two_rectangles_each_highest_in_its_middle():
    expected = torch.tensor([[0.25, -0.25, -0.25], [1.25, -0.25, -1.25], [0.25, -0.25, -0.25]])  # 1/1 + 1/4 and 1/4
    torch.testing.assert_close(bump(3, 3, expected), expected / expected.norm())
    torch.testing.assert_close(bump(1, 1, expected), torch.tensor([[-1.0]]))


@given(CHANCES, st.floats(0.01, 1))
def test_an_l2_move_uses_all_of_the_ball_and_empties_one_square_for_another(chance, p):
    x, search = torch.full((6, 2, 6, 7), 0.5), Energy(L2(0.3))
    adv = search.start(x, noise(SEEDS))
    before, after = adv - x, search.move(adv, x, p, chance) - x
    for delta in (before, after):
        torch.testing.assert_close(delta.flatten(1).norm(dim=1), torch.full((6,), 0.3))
    side = min(max(round(math.sqrt(p * 42)), 3) // 2 * 2 + 1, 5)
    assert ((after != before).flatten(1).sum(1) <= 2 * 2 * side * side).all()


def test_without_a_radius_nothing_moves(net, images, labels):
    for kind in (Linf, L2):
        torch.testing.assert_close(Square(5)(net, images, labels, kind(0.0), rng=SEEDS), images)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (4, 4), (5, 11)], ids=str)
@BOTH
def test_images_of_any_size_do(kind, size):
    x = torch.rand(3, 1, *size, generator=generator(0))
    model = lambda x: torch.stack([100 - x.sum((1, 2, 3)), x.sum((1, 2, 3))], 1)  # noqa: E731
    adv = Square(150)(model, x, torch.zeros(3, dtype=torch.int64), kind(EPS), rng=SEEDS[:3])
    assert adv.isfinite().all()
    assert (adv.sum((1, 2, 3)) > x.sum((1, 2, 3))).all()


def test_with_queries_enough_the_worst_corner_of_a_linear_model_is_found():
    x, y = torch.full((4, 2, 3, 3), 0.5), torch.zeros(4, dtype=torch.int64)
    adv = Square(400)(ramp, x, y, Linf(EPS), rng=SEEDS[:4])
    pixels = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-ramp(pixels)[:, 0].sum(), pixels)
    torch.testing.assert_close(adv, x + EPS * gradient.sign())


@BOTH
def test_more_queries_and_more_restarts_never_raise_the_margin(kind, images):
    y = torch.zeros(6, dtype=torch.int64)
    margin = lambda **counts: curved(Square(**counts)(curved, images, y, kind(0.3), rng=SEEDS))[:, 0]  # noqa: E731
    once, twice = margin(queries=20), margin(queries=20, restarts=3)
    assert (twice <= once + 1e-9).all()
    assert twice.sum() < once.sum() < margin(queries=1).sum()


def test_each_image_costs_its_queries_and_a_broken_one_nothing_more(images):
    calls = []

    def model(x):
        calls.append(len(x))
        return curved(x)

    y = torch.tensor([0, 0, 1, 0, 0, 0])  # the third one is misclassified as it is
    adv = Square(7)(model, images, y, Linf(EPS), rng=SEEDS)
    assert calls == [6] + [5] * 7
    assert torch.equal(adv[2], images[2])


@pytest.mark.parametrize(("share", "asked"), [(1.0, 1 + 80), (0.5, 1 + 10)])
def test_an_image_that_stays_far_from_every_other_class_is_given_up_after_an_eighth(share, asked):
    calls = []

    def model(x):
        calls.append(len(x))
        return x.flatten(1) @ torch.tensor([[1.0, -1.0], [-1.0, 1.0]])

    Square(80, give_up=share)(model, torch.tensor([[0.9, 0.1]]), torch.tensor([0]), Linf(0.02), rng=SEEDS[:1])
    assert len(calls) == asked, "its margin falls by a twentieth"


def test_without_a_judge_the_first_misclassified_image_is_kept(ann, images):
    y = ann(images).argmax(1)
    adv = Square(200)(ann, images, y, Linf(0.5), rng=SEEDS)
    broken = ann(adv).argmax(1) != y
    assert broken.any()
    shown = []
    judge = lambda iterates, index: shown.append(index) or ann(iterates).argmax(1) != y[index]  # noqa: E731
    torch.testing.assert_close(Square(200)(ann, images, y, Linf(0.5), rng=SEEDS, judge=judge), adv)


def test_a_judge_is_asked_about_accepted_iterates_only_and_its_word_ends_the_search(images):
    shown = []

    def judge(iterates, index):
        shown.append((iterates.clone(), index.clone()))
        return (index == 1) & (len(shown) >= 3)

    y = torch.zeros(6, dtype=torch.int64)
    adv = Square(40)(curved, images, y, Linf(EPS), rng=SEEDS, judge=judge)
    assert torch.equal(shown[0][0], images)
    for image in range(6):
        iterates = torch.cat([iterates[index == image] for iterates, index in shown])
        margins = curved(iterates)[1:, 0]  # the stripes are taken whatever they are worth
        assert (margins.diff() < 0).all()
        assert torch.equal(adv[image], iterates[-1])
    assert sum(1 in index for _, index in shown) < sum(0 in index for _, index in shown)


def test_the_judges_word_counts_and_not_the_models(images):
    y = torch.ones(6, dtype=torch.int64)  # the model is wrong everywhere, the judge sees nothing broken
    calls = []

    def model(x):
        calls.append(len(x))
        return curved(x)

    Square(5)(model, images, y, Linf(EPS), rng=SEEDS, judge=lambda iterates, index: index < 0)
    assert calls == [6] * 6


def test_no_images_are_no_trouble(net, images, labels):
    for attack, threat in EVERY:
        assert attack(net, images[:0], labels[:0], threat, rng=SEEDS[:0]).shape == (0, 2, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"queries": 0}, "queries of Square must be a whole number of at least 1"),
        ({"queries": 2.5}, "queries"),
        ({"restarts": 0}, "restart"),
        *(({"p": p}, "in \\(0, 1\\]") for p in (0, 1.1, math.nan)),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(arguments, line, unchecked):
    with pytest.raises(ValueError, match=line):
        Square(**arguments)


def test_one_class_is_refused(images):
    with pytest.raises(ValueError, match="two or more classes"):
        Square(3)(lambda x: x[:, :1, 0, 0], images, torch.zeros(6, dtype=torch.int64), Linf(EPS), rng=SEEDS)
