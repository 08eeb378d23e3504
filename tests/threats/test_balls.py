import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.threats import L1, L2, Linf

balls = st.one_of(st.floats(0, 1).map(Linf), st.floats(0, 2).map(L2), st.floats(0, 8).map(L1))
NORMS = {Linf: torch.inf, L2: 2, L1: 1}
SHAPES = [(2, 12), (2, 3, 4), (2, 2, 3, 2), (2, 3, 2, 2, 1)]


def tensors(low, high):
    values = st.lists(st.floats(low, high, width=32), min_size=24, max_size=24)
    return values.map(torch.tensor)


def distance(ball, adv, x):
    return torch.linalg.vector_norm((adv - x).flatten(1), NORMS[type(ball)], dim=1)


def assert_allowed(ball, adv, x):
    assert (distance(ball, adv, x) <= ball.eps + 1.1e-6).all()
    assert adv.min() >= 0
    assert adv.max() <= 1
    assert ball.contains(adv, x).all()


@given(balls, st.sampled_from(SHAPES), tensors(0, 1), tensors(-10, 10))
def test_projections_lie_in_ball_and_box(ball, shape, x, adv):
    x, adv = x.view(shape), adv.view(shape)
    assert_allowed(ball, ball.project(adv, x), x)


@given(balls, st.sampled_from(SHAPES), tensors(0, 1), tensors(-10, 10))
def test_projecting_twice_is_projecting_once_to_the_bit(ball, shape, x, adv):
    x, adv = x.view(shape), adv.view(shape)
    once = ball.project(adv, x)
    assert torch.equal(ball.project(once, x), once)


@given(balls, st.sampled_from(SHAPES), tensors(0, 1), st.integers(0, 2**31))
def test_a_member_is_left_as_it_is_to_the_bit(ball, shape, x, seed):
    x = x.view(shape)
    adv = ball.sample(x, noise(generator(seed)))
    assert torch.equal(ball.project(adv, x), adv)
    assert torch.equal(ball.project(x, x), x)


@given(balls, tensors(0, 1), tensors(0, 1))
def test_what_is_further_away_is_not_contained(ball, x, adv):
    x, adv = x.view(2, 12), adv.view(2, 12)
    far = distance(ball, adv, x) > ball.eps + 2e-6
    assert not ball.contains(adv, x)[far].any()


def test_neither_what_leaves_the_box_nor_what_is_not_a_number_is_contained():
    x = torch.tensor([[0.0, 1.0]] * 4)
    adv = torch.tensor([[-0.01, 1.0], [0.0, 1.01], [0.0, torch.nan], [0.01, 0.99]])
    for ball in (Linf(0.1), L2(0.1), L1(0.1)):
        assert ball.contains(adv, x).tolist() == [False, False, False, True]


@given(tensors(0, 1), tensors(-2, 3), st.floats(0, 1), tensors(0, 1))
def test_the_linf_projection_is_the_nearest_allowed_image(x, adv, eps, other):
    x, adv, other = (each.view(2, 12) for each in (x, adv, other))
    projected, other = Linf(eps).project(adv, x), Linf(eps).project(other, x)
    assert ((projected - adv).abs() <= (other - adv).abs() + 1e-6).all()


def test_an_l2_projection_is_on_the_line_to_the_image():
    x, adv = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.8, 0.9]]]])
    torch.testing.assert_close(L2(0.25).project(adv, x), torch.tensor([[[[0.65, 0.7]]]]))


@given(tensors(0, 1), tensors(-2, 3), st.floats(0, 8), tensors(0, 1))
def test_before_the_box_cuts_it_the_l1_projection_is_the_nearest_sample(x, adv, eps, other):
    x, adv, other = (each.view(2, 12) for each in (x, adv, other))

    class Unboxed(L1):
        box = (-10.0, 10.0)

    ball = Unboxed(eps)
    projected, other = ball.project(adv, x), ball.project(other, x)
    assert ((projected - adv).norm(dim=1) <= (other - adv).norm(dim=1) + 1e-3).all()


@pytest.mark.parametrize("ball", [Linf(0.3), L2(0.3)], ids=str)
def test_steps_are_shortened_along_themselves_or_left_as_they_are(ball):
    steps = torch.tensor([[0.1, -0.2], [3.0, -4.0], [0.0, 0.0]])
    short = ball.shorten(steps, 0.5)
    assert torch.equal(short[[0, 2]], steps[[0, 2]])
    torch.testing.assert_close(short[1], torch.tensor([0.5, -0.5] if isinstance(ball, Linf) else [0.3, -0.4]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_widest_radius_allows_everything_and_a_smaller_one_does_not(shape):
    x = torch.zeros(shape)
    for ball in (Linf(0.1), L2(0.1), L1(0.1)):
        widest = ball.widest(x)
        assert widest == pytest.approx(x[0].numel() ** (1 / NORMS[type(ball)]))
        assert ball.scaled(widest).contains(torch.ones(shape), x).all()
        assert not ball.scaled(0.99 * widest).contains(torch.ones(shape), x).any()


@given(balls, st.sampled_from(SHAPES), tensors(0, 1), st.integers(0, 2**31))
def test_samples_lie_in_ball_and_box(ball, shape, x, seed):
    x = x.view(shape)
    assert_allowed(ball, ball.sample(x, noise(generator(seed))), x)


@pytest.mark.parametrize("ball", [Linf(0.25), L2(0.25), L1(0.25)], ids=repr)
def test_samples_fill_the_ball(ball):
    x = torch.full((4000, 1, 1, 2), 0.5)
    delta = (ball.sample(x, noise(image_seeds(torch.arange(4000), 0, "test"))) - x).flatten(1)
    radius = distance(ball, delta, torch.zeros_like(delta)) / ball.eps
    assert radius.square().mean() == pytest.approx(0.5, abs=0.02)  # uniform on a square, a disc or a diamond
    assert delta.mean(0).abs().max() < 0.01
    assert radius.max() > 0.99


@pytest.mark.parametrize("ball", [Linf(0.25), L2(0.25), L1(0.25)], ids=repr)
def test_samples_leave_the_images_as_they_are(ball):
    x = torch.rand(2, 1, 3, 3)
    before = x.clone()
    ball.project(ball.sample(x, noise(generator(0))), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6, 1e-15, 1e-25])
@pytest.mark.parametrize(
    ("ball", "direction"),
    [
        (Linf(0.1), [1.0, -1.0, 0.0, 1.0]),
        (L2(0.1), [0.5, -0.7, 0.0, 0.1 * math.sqrt(26)]),
        (L1(0.1), [0.0, -1.0, 0.0, 0.0]),
    ],
    ids=repr,
)
def test_the_direction_has_size_one_however_small_the_gradient(ball, direction, scale):
    direction = torch.tensor(direction).view(1, 1, 2, 2)
    torch.testing.assert_close(ball.direction(direction * scale * 3), direction)


def test_an_l1_step_is_shared_by_a_twentieth_of_the_values():
    gradient = torch.arange(-20.0, 20.0).view(1, 40)
    step = L1(1.0).direction(gradient)
    assert step.flatten().nonzero().flatten().tolist() == [0, 1, 39]  # three, since two share the second place
    assert step.flatten()[[0, 1, 39]].tolist() == pytest.approx([-1 / 3, -1 / 3, 1 / 3])


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.1), L1(0.1)], ids=repr)
def test_where_the_gradient_is_zero_there_is_no_step(ball):
    gradient = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    direction = ball.direction(gradient)
    assert torch.equal(direction[0], torch.zeros(1, 2, 2))
    assert direction[1].min() > 0


@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("make", [Linf, L2, L1])
def test_a_radius_that_is_none_is_refused(make, eps):
    with pytest.raises(ValueError, match="eps must be finite and at least 0"):
        make(eps)
    with pytest.raises(ValueError, match=r"eps must be at most 1, since pixels are in \[0, 1\], not 8: write 8/255\?"):
        Linf(8)
