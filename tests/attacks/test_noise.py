import pytest
import torch
import torch.nn.functional as F

from robustsnn.attacks import CornerNoise, UniformNoise
from robustsnn.seeds import generator, image_seeds
from robustsnn.spiking import Adaptive
from robustsnn.threats import Linf

EPS = 0.1
BOTH = pytest.mark.parametrize("made", [UniformNoise, CornerNoise])
SEEDS = image_seeds(torch.arange(6), 0, "test")


def total(x):
    """Two classes told apart by the sum of all pixels; class 0 is brighter the darker the image is."""
    return torch.stack([-x.sum((1, 2, 3)), 0 * x.sum((1, 2, 3))], 1)


@BOTH
@pytest.mark.parametrize("draws", [1, 4])
def test_results_lie_in_ball_and_box_and_leave_everything_else_alone(net, images, labels, made, draws, unchanged):
    images = images.round()
    for rng in (generator(0), SEEDS):
        with unchanged(net):
            adv = made(draws)(net, images.clone().requires_grad_(), labels, Linf(EPS), rng=rng)
        assert (adv - images).abs().max() <= EPS + 1e-6
        assert adv.min() >= 0
        assert adv.max() <= 1
        assert not adv.requires_grad
        assert (adv.shape, adv.dtype) == (images.shape, images.dtype)


def test_corners_are_corners_and_uniform_noise_fills_the_ball():
    x, y = torch.full((50, 2, 8, 8), 0.5), torch.zeros(50, dtype=torch.int64)
    corner, uniform = ((made(1)(total, x, y, Linf(EPS), rng=generator(0)) - x) / EPS for made in (CornerNoise, UniformNoise))
    torch.testing.assert_close(corner.abs(), torch.ones_like(x))
    for delta, spread in ((corner, 1), (uniform, 1 / 3)):
        assert delta.mean() == pytest.approx(0, abs=0.03)
        assert delta.square().mean() == pytest.approx(spread, abs=0.02)


@BOTH
@pytest.mark.parametrize("chosen", [[3], [5, 4, 3, 2, 1, 0], [2, 2, 2]], ids=str)
def test_what_an_image_becomes_depends_on_itself_and_its_seed_alone(images, made, chosen):
    x, y, attack = images.double(), torch.zeros(6, dtype=torch.int64), made(5)
    for judge in (None, lambda iterates, index: iterates[:, 0, 0, 0] > 0.6):
        everyone = attack(total, x, y, Linf(EPS), rng=SEEDS, judge=judge)
        assert torch.equal(attack(total, x[chosen], y[chosen], Linf(EPS), rng=SEEDS[chosen], judge=judge), everyone[chosen])


@BOTH
def test_without_a_judge_the_draw_with_the_highest_cross_entropy_is_kept(images, made):
    y = torch.zeros(6, dtype=torch.int64)
    losses = [F.cross_entropy(total(made(n)(total, images, y, Linf(EPS), rng=SEEDS)), y, reduction="none") for n in (1, 3, 9)]
    assert (losses[0] <= losses[1]).all()
    assert (losses[1] <= losses[2]).all()
    assert losses[0].sum() < losses[2].sum()


@BOTH
def test_a_broken_image_keeps_what_broke_it_and_costs_nothing_more(images, made):
    shown = []

    def judge(iterates, index):
        shown.append((iterates.clone(), index.tolist()))
        return index == len(shown) - 1

    adv = made(3)(total, images, torch.zeros(6, dtype=torch.int64), Linf(EPS), rng=SEEDS, judge=judge)
    assert [index for _, index in shown] == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [2, 3, 4, 5]]
    for image in range(3):
        assert torch.equal(adv[image], shown[image][0][0])


@BOTH
def test_neither_radius_nor_images_are_no_trouble(net, images, labels, made):
    assert torch.equal(made()(net, images, labels, Linf(0.0), rng=SEEDS), images)
    assert made()(net, images[:0], labels[:0], Linf(EPS), rng=SEEDS[:0]).shape == (0, 2, 8, 8)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "line"),
    [({"draws": 0}, "draws of .*Noise must be a whole number of at least 1"), ({"draws": 1.5}, "draw")],
    ids=str,
)
def test_what_is_out_of_range_is_refused(made, arguments, line, unchecked):
    with pytest.raises(ValueError, match=line):
        made(**arguments)


@BOTH
def test_noise_meets_a_path_that_remembers_images(net, images, labels, made):
    adv, expected = (made()(model, images, labels, Linf(EPS), rng=SEEDS) for model in (Adaptive(0.43)(net), net))
    assert torch.equal(adv, expected)
