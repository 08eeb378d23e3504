import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.seeds import derive, generator, image_seeds, noise, randomness

LIKE = torch.empty(8, 3, 40, 40)
SEEDS = image_seeds(torch.arange(8), 0, "test")
purposes = st.lists(st.integers() | st.text(), min_size=1, max_size=3).map(tuple)


@given(purposes, purposes)
def test_seeds_are_equal_exactly_where_the_purposes_are(one, other):
    assert (derive(*one) == derive(*other)) == (one == other)
    assert 0 <= derive(*one) < 2**62


def test_seeds_are_the_same_on_every_machine():
    assert derive(0, "init") == 2592094617366266471
    assert image_seeds(torch.arange(3), 0, "test").tolist() == [
        -8959397382884579517,
        5171314220631483979,
        -7646329550037386953,
    ]


def test_a_generator_depends_on_its_purpose_alone():
    draw = lambda *purpose: torch.rand(4, generator=generator(*purpose))  # noqa: E731
    assert torch.equal(draw(0, "a"), draw(0, "a"))
    assert not torch.equal(draw(0, "a"), draw(0, "b"))


def test_every_image_and_purpose_has_a_seed_of_its_own():
    seeds = torch.cat([image_seeds(torch.arange(1000), seed, "test") for seed in range(10)])
    assert len(seeds.unique()) == len(seeds)
    assert image_seeds(torch.tensor([7]), 3, "test") == seeds[3007]


@pytest.fixture(params=["seeds", "generator"])
def source(request):
    return noise(SEEDS if request.param == "seeds" else generator(0, "test"))


@pytest.mark.parametrize(
    ("kind", "mean", "variance", "low", "high"),
    [("uniform", 1 / 2, 1 / 12, 0, 1), ("normal", 0, 1, -6, 6)],
)
def test_noise_has_the_moments_of_its_distribution(source, kind, mean, variance, low, high):
    drawn = getattr(source, kind)(LIKE)
    assert drawn.shape == LIKE.shape
    assert drawn.dtype == LIKE.dtype
    assert low <= drawn.min() < drawn.max() < high
    sigma = (variance / drawn.numel()) ** 0.5
    assert abs(drawn.mean() - mean) < 4 * sigma
    assert drawn.var() == pytest.approx(variance, rel=0.03)


def test_uniform_values_fill_the_interval_evenly(source):
    counts = torch.histc(source.uniform(LIKE), 16, 0, 1)
    expected = LIKE.numel() / 16
    assert ((counts - expected) ** 2 / expected).sum() < 37.7  # chi squared, 15 degrees of freedom, 99.9 %


def test_draws_images_and_positions_are_uncorrelated(source):
    first, second = source.uniform(LIKE).flatten(1), source.uniform(LIKE).flatten(1)
    pairs = {
        "draws": (first, second),
        "images": (first[:-1], first[1:]),
        "positions": (first[:, :-1], first[:, 1:]),
    }
    for name, (one, other) in pairs.items():
        correlation = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 4 / one.numel() ** 0.5, name


@given(st.permutations(range(8)), st.integers(1, 8))
def test_what_an_image_draws_depends_on_its_own_seed_alone(order, count):
    chosen = torch.tensor(order[:count])
    everyone, some = noise(SEEDS), noise(SEEDS[chosen])
    like = LIKE[:, :1, :2, :2]
    for _ in range(2):
        assert torch.equal(everyone.uniform(like)[chosen], some.uniform(like[chosen]))
        assert torch.equal(everyone.normal(like)[chosen], some.normal(like[chosen]))


def test_seeded_noise_never_runs_out_of_draws():
    source, like = noise(SEEDS), torch.empty(8, 1, 1, 1)
    drawn = torch.cat([source.uniform(like) for _ in range(50)])
    assert len(drawn.unique()) == len(drawn.flatten())


def test_noise_for_no_images_is_empty():
    assert noise(SEEDS[:0]).uniform(LIKE[:0]).shape == noise(SEEDS[:0]).normal(LIKE[:0]).shape == LIKE[:0].shape


def test_noise_leaves_the_global_generator_alone(source):
    state = torch.get_rng_state()
    source.uniform(LIKE), source.normal(LIKE)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rng", [0, [1, 2], torch.zeros(8), SEEDS.int(), SEEDS[:, None], torch.tensor(3)])
def test_randomness_of_another_type_is_refused(rng, unchecked):
    with pytest.raises(ValueError, match=r"torch.Generator or one int64 seed per image"):
        noise(rng)


def test_a_tensor_of_another_type_is_refused_with_its_type_and_shape():
    with pytest.raises(ValueError, match=r"image_seeds, not a tensor \[8, 2\] of torch\.float32"):
        noise(torch.zeros(8, 2))


def test_seeds_for_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="8 seeds were given for 5 images"):
        noise(SEEDS).uniform(LIKE[:5])


def drawn(*purpose):
    with randomness(*purpose):
        return torch.rand(3).tolist()


def test_inside_the_scope_randomness_depends_on_the_purpose_alone():
    first = drawn(0, "dropout", 1)
    torch.rand(7)
    assert drawn(0, "dropout", 1) == first
    assert drawn(0, "dropout", 2) != first


@pytest.mark.parametrize("error", [None, KeyError])
def test_after_the_scope_the_global_generator_is_as_it_was(error):
    before = torch.get_rng_state()
    try:
        with randomness(0):
            torch.rand(5)
            if error:
                raise error
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), before)
