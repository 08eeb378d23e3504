import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.data import DATASETS, Augment, Samples, load_dataset, split
from robustsnn.seeds import generator

PIXELS = (torch.arange(10 * 2 * 3 * 4) % 256).to(torch.uint8).view(10, 2, 3, 4)
LABELS = torch.arange(10) % 3


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_digits_are_all_there_and_split_class_by_class(digits):
    assert len(digits.train) + len(digits.test) == 1797
    assert (digits.channels, digits.size, digits.train.classes) == (1, 8, 10)
    train, test = (part.labels.bincount(minlength=10) for part in (digits.train, digits.test))
    assert ((test - 0.25 * (train + test)).abs() <= 0.5).all()


def test_digits_are_those_of_scikit_learn_each_once(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    rows = torch.cat([digits.train.values, digits.test.values]).flatten(1).float() / 255 * 16
    labelled = torch.cat([rows.round(), torch.cat([digits.train.labels, digits.test.labels])[:, None]], 1)
    expected = torch.cat([torch.from_numpy(raw.data).float(), torch.from_numpy(raw.target)[:, None]], 1)
    assert sorted(labelled.tolist()) == sorted(expected.tolist())


def test_digits_are_normalised_by_their_own_statistics(digits):
    pixels = digits.train.values.float() / 255
    assert digits.mean == pytest.approx((pixels.mean().item(),), abs=5e-3)
    assert digits.std == pytest.approx((pixels.std().item(),), abs=5e-3)


def test_a_limited_data_set_is_the_beginning_of_the_whole(digits):
    few = digits.limited(5, None)
    assert torch.equal(few.train.values, digits.train.values[:5])
    assert len(few.test) == len(digits.test)
    assert len(digits.limited(10**6, 3).train) == len(digits.train)


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        load_dataset("digit")
    assert "digits" in DATASETS


@pytest.mark.parametrize(
    ("pixels", "labels", "line"),
    [
        (PIXELS[:, 0, 0, 0], LABELS, r"\[N,C,H,W\]"),
        (PIXELS, LABELS[:9], r"labels \[N\]"),
        (PIXELS, LABELS[:, None], r"labels \[N\]"),
        (PIXELS, LABELS.float(), "must be integers"),
        (PIXELS, LABELS + 1, "range over 1 .. 3"),
        (PIXELS, LABELS - 1, "range over -1 .. 1"),
        (PIXELS.double() / 255, LABELS, "uint8 .* or float32"),
        (PIXELS.float(), LABELS, "divide by 255"),
        (PIXELS.float() / 255 - 0.1, LABELS, r"in \[0, 1\]"),
        (torch.full((10, 1, 1, 1), torch.nan), LABELS, "NaN"),
        (torch.full((10, 1, 1, 1), torch.inf), LABELS, "infinity"),
    ],
)
def test_images_that_are_none_are_refused(pixels, labels, line):
    with pytest.raises(ValueError, match=line):
        Samples(pixels, labels, classes=3)


@pytest.mark.parametrize("shape", [(8,), (2, 3), (2, 3, 4), (5, 2, 3, 4)], ids=str)
def test_samples_are_of_any_rank(shape):
    values = torch.rand(6, *shape, generator=generator(0, "test"))
    samples = Samples(values, torch.arange(6) % 3, 3)
    assert torch.equal(torch.cat([x for x, _, _ in samples.batches(4)]), values)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int32, torch.bool], ids=str)
def test_labels_of_any_integer_type_are_kept_as_int64(kind):
    labels = torch.arange(10) % 2
    assert torch.equal(Samples(PIXELS, labels.to(kind), 2).labels, labels)


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS.float() / 255], ids=["uint8", "float32"])
def test_a_batch_is_float_pixels_in_the_unit_interval(pixels):
    index = torch.tensor([3, 1])
    batch, labels = Samples(pixels, LABELS, 3).batch(index)
    assert torch.equal(batch, PIXELS[index].float() / 255)
    assert torch.equal(labels, LABELS[index])


@pytest.mark.parametrize("rng", [None, generator(0, "test")], ids=["in order", "shuffled"])
def test_batches_hold_every_image_once_with_its_label_and_index(rng):
    images = Samples(PIXELS, LABELS, 3)
    batches = list(images.batches(4, rng))
    assert [len(labels) for _, labels, _ in batches] == [4, 4, 2]
    order = torch.cat([index for *_, index in batches])
    assert sorted(order.tolist()) == list(range(10))
    assert (order.tolist() == list(range(10))) == (rng is None)
    for pixels, labels, index in batches:
        assert torch.equal(pixels, PIXELS[index].float() / 255)
        assert torch.equal(labels, LABELS[index])


@given(st.lists(st.integers(0, 3), min_size=4, max_size=60), st.floats(0.1, 0.9), st.integers(0, 5))
def test_a_split_is_a_stratified_partition(labels, held_out, seed):
    labels = torch.tensor(labels)
    images = Samples(torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1), labels, 4)
    taken = sum(round(held_out * int(count)) for count in labels.bincount())
    if taken in (0, len(labels)):
        with pytest.raises(ValueError, match="leaves a part empty"):
            split(images, held_out, seed)
        return
    rest, held = split(images, held_out, seed)
    parts = [part.values.flatten().tolist() for part in (rest, held)]
    assert sorted(parts[0] + parts[1]) == list(range(len(labels)))
    for label, count in enumerate(labels.bincount()):
        assert abs((held.labels == label).sum() - held_out * count) <= 0.5
    again = split(images, held_out, seed)
    assert [part.values.flatten().tolist() for part in again] == parts


def test_the_seed_decides_who_is_held_out():
    images = Samples(torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1), torch.zeros(40, dtype=torch.int64), 1)
    held = {tuple(split(images, 0.5, seed)[1].values.flatten().sort().values.tolist()) for seed in range(5)}
    assert len(held) == 5


@pytest.mark.parametrize("held_out", [0, 1, -0.5, 1.5, float("nan")])
def test_a_share_outside_the_unit_interval_is_refused(held_out):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(Samples(PIXELS, LABELS, 3), held_out, 0)


def test_an_augmented_image_is_a_crop_of_the_padded_perhaps_mirrored_one_and_every_crop_occurs():
    pad, image = 1, torch.arange(1.0, 25.0).view(1, 2, 3, 4) / 24
    drawn = Augment(pad=pad, flip=True)(image.expand(600, -1, -1, -1), generator(0, "test"))
    assert drawn.shape == (600, 2, 3, 4)
    seen = torch.zeros(600, dtype=torch.int64)
    for mirrored in (False, True):
        padded = F.pad(image.flip(3) if mirrored else image, [pad] * 4)
        for row in range(2 * pad + 1):
            for column in range(2 * pad + 1):
                same = (drawn == padded[:, :, row : row + 3, column : column + 4]).flatten(1).all(1)
                assert 600 / 18 / 2 < same.sum() < 600 / 18 * 2
                seen += same
    assert (seen == 1).all()


def test_without_padding_and_flip_nothing_changes():
    x = PIXELS.float() / 255
    assert torch.equal(Augment()(x, generator(0, "test")), x)


def test_augmentation_is_a_pure_function_of_images_and_generator():
    x = PIXELS.float() / 255
    before, state = x.clone(), torch.get_rng_state()
    first, again, other = (Augment(2, True)(x, generator(seed, "test")) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        Augment(pad=-1)


@pytest.mark.parametrize("side", [1, 2, 5])
def test_cutout_fills_one_square_per_image_with_the_mean_anywhere(side):
    x = torch.ones(400, 2, 6, 6)
    cut = Augment(cutout=side, fill=(0.25, 0.5))(x, generator(0, "test"))
    holes = cut[:, 0] != 1
    assert torch.equal(holes, cut[:, 1] != 1)
    assert set(cut[:, 0].unique().tolist()) == {0.25, 1.0}
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.flatten(1).sum(1), rows * columns)  # a rectangle, cut off at most at the border
    assert (rows.max(), columns.max()) == (side, side)
    assert holes.any(0).all()


def test_a_resized_crop_shows_a_part_of_the_image_at_full_size():
    ramp = torch.linspace(0, 1, 16).expand(500, 1, 16, 16)
    seen = Augment(resized_crop=True)(ramp, generator(0, "test"))
    spread = seen[:, 0, 0, -1] - seen[:, 0, 0, 0]
    assert seen.shape == ramp.shape
    assert (seen.diff(dim=3) >= -1e-6).all()  # neither mirrored nor turned
    assert (seen[:, :, :1] - seen).abs().max() < 1e-5
    assert 0.1 < float(spread.min()) < 0.5
    assert float(spread.max()) > 0.9
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1


def test_all_augmentation_is_decided_by_the_generator():
    x = torch.rand(20, 3, 8, 8, generator=generator(1, "test"))
    everything = Augment(2, True, 3, (0.1, 0.2, 0.3), True)
    state = torch.get_rng_state()
    first, again, other = (everything(x, generator(seed, "test")) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
