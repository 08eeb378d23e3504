"""Images from parquet files: decoded once, cached with a digest, split where there is no test part. No network."""

from __future__ import annotations

import io
import os
import time

import pytest
import torch
from PIL import Image

from real import REAL, real
from robustsnn.data import DATASETS, load_dataset
from robustsnn.data.sources import HERE, HUB
from robustsnn.files import PART

pytestmark = pytest.mark.usefixtures("unchecked")

datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache/robustsnn"


def pixels(count, channels, size=6, seed=0):
    return torch.randint(256, (count, channels, size, size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def png(image):
    array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def write(path, images, labels, image="img", label="label", typed=True):
    """A parquet file of encoded images: with the hub's column types, or as plain bytes as other tools write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_dict({image: [{"bytes": png(i), "path": None} for i in images], label: labels})
    (table.cast_column(image, datasets.Image()) if typed else table).to_parquet(path)


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "plain bytes"])
@pytest.mark.parametrize(
    ("name", "channels", "label"), [("cifar10", 3, "label"), ("cifar100", 3, "fine_label"), ("mnist", 1, "label")]
)
def test_a_folder_stands_for_the_hub(name, channels, label, typed, tmp_path, monkeypatch):
    train, test = pixels(6, channels), pixels(4, channels, seed=1)
    write(tmp_path / name / "train.parquet", train, [0, 1, 2, 0, 1, 2], label=label, typed=typed)
    write(tmp_path / name / "test.parquet", test, [2, 1, 0, 2], label=label, typed=typed)
    monkeypatch.setenv(HERE, str(tmp_path))
    data = load_dataset(name)
    assert torch.equal(data.train.values, train)
    assert torch.equal(data.test.values, test)
    assert data.test.labels.tolist() == [2, 1, 0, 2]
    assert (data.mean, data.train.classes) == (HUB[name].mean, 3)


def test_images_are_decoded_once_and_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, cache):
    write(tmp_path / "cifar10/train.parquet", pixels(10, 3), [0, 1] * 5)
    monkeypatch.setenv(HERE, str(tmp_path))
    first = load_dataset("cifar10")
    (file,) = cache.iterdir()
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("decoded a second time"))
    assert torch.equal(load_dataset("cifar10").train.values, first.train.values)
    monkeypatch.undo()
    monkeypatch.setenv(HERE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert torch.equal(load_dataset("cifar10").train.values, first.train.values)


def test_other_files_are_another_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv(HERE, str(tmp_path))
    write(tmp_path / "cifar10/train.parquet", pixels(10, 3), [0, 1] * 5)
    before = load_dataset("cifar10").train.values
    write(tmp_path / "cifar10/train.parquet", pixels(10, 3, seed=5), [0, 1] * 5)
    assert not torch.equal(load_dataset("cifar10").train.values, before)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_set_without_test_images_gives_a_fifth_of_each_class(place, tmp_path):
    write(tmp_path / "own/images.parquet", pixels(20, 3), [0] * 10 + [1] * 10, image="image")
    data = load_dataset(str(tmp_path / "own/images.parquet" if place == "file" else tmp_path / "own"))
    assert (len(data.train), data.test.labels.bincount().tolist()) == (16, [2, 2])
    assert len(data.mean) == len(data.std) == 3


def by_class(folder, images):
    """A folder of images, in turn of class 0 and 1."""
    for number, image in enumerate(images):
        file = folder / f"class{number % 2}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))


def test_a_folder_of_images_by_class(tmp_path):
    by_class(tmp_path / "own", pixels(10, 3))
    data = load_dataset(str(tmp_path / "own"))
    assert (len(data.train), len(data.test), data.train.classes) == (8, 2, 2)


def shown(data):
    """All images of a data set, by what they show."""
    return sorted(torch.cat([data.train.values, data.test.values]).flatten(1).tolist())


def test_a_folder_of_images_that_changed_is_read_anew(tmp_path):
    before, after = pixels(10, 3), pixels(10, 3, seed=1)
    by_class(tmp_path / "own", before)
    assert shown(load_dataset(str(tmp_path / "own"))) == sorted(before.flatten(1).tolist())
    by_class(tmp_path / "own", after)
    assert shown(load_dataset(str(tmp_path / "own"))) == sorted(after.flatten(1).tolist())


def test_two_folders_of_one_name_are_two_data_sets(tmp_path, monkeypatch):
    for seed, place in enumerate(("here", "there")):
        by_class(tmp_path / place / "my/own", pixels(10, 3, seed=seed))
        monkeypatch.chdir(tmp_path / place)
        assert shown(load_dataset("my/own")) == sorted(pixels(10, 3, seed=seed).flatten(1).tolist())


def test_a_folder_that_is_called_like_a_known_set_is_not_taken_for_it(tmp_path, monkeypatch):
    by_class(tmp_path / "mnist", pixels(10, 1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="cannot load data set 'mnist'"):
        load_dataset("mnist")


@pytest.mark.parametrize("kind", ["folder of images", "parquet"])
def test_the_first_images_are_of_all_classes_where_each_class_stands_together(kind, tmp_path):
    for part, count in (("train", 60), ("test", 40)):
        if kind == "parquet":
            write(tmp_path / f"own/{part}.parquet", pixels(count, 3), [0] * (count // 2) + [1] * (count // 2))
        else:
            by_class(tmp_path / "own" / part, pixels(count, 3))
    few = load_dataset(str(tmp_path / "own")).limited(20, 20)
    for images in (few.train, few.test):
        assert images.labels.bincount(minlength=2).min() >= 5
    again = load_dataset(str(tmp_path / "own"))
    assert torch.equal(again.test.values[:20], few.test.values)


def test_every_image_keeps_its_label_when_classes_are_mixed(tmp_path):
    images = (torch.arange(40) * 5).to(torch.uint8)[:, None, None, None].expand(40, 3, 6, 6)
    write(tmp_path / "own/train.parquet", images, [0] * 20 + [1] * 20)
    write(tmp_path / "own/test.parquet", images, [0, 1] * 20)
    data = load_dataset(str(tmp_path / "own"))
    assert torch.equal(data.train.labels, (data.train.values[:, 0, 0, 0] >= 100).long())
    assert torch.equal(data.test.values, images)


def test_validation_images_are_measured_on_only_where_there_are_no_test_images(tmp_path):
    for part, count in (("train", 6), ("test", 4), ("validation", 5)):
        write(tmp_path / f"own/{part}.parquet", pixels(count, 3), [0, 1, 0, 1, 0, 1][:count])
    assert len(load_dataset(str(tmp_path / "own")).test) == 4
    (tmp_path / "own/test.parquet").unlink()
    assert len(load_dataset(str(tmp_path / "own")).test) == 5


@pytest.mark.parametrize("grey", ["first", "test"])
def test_a_set_has_colour_if_any_of_its_images_has(grey, tmp_path):
    colour, plain = pixels(6, 3), pixels(4, 1)
    train = [*plain, *colour] if grey == "first" else list(colour)
    write(tmp_path / "own/train.parquet", train, [0, 1] * (len(train) // 2))
    write(tmp_path / "own/test.parquet", plain, [0, 1] * 2)
    data = load_dataset(str(tmp_path / "own"))
    assert torch.equal(data.train.values[-6:], colour)
    assert torch.equal(data.test.values, plain.expand(-1, 3, -1, -1))


def test_a_palette_is_colour(tmp_path):
    (tmp_path / "own").mkdir()
    for label in (0, 1):
        for number in range(5):
            file = tmp_path / f"own/class{label}/{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (6, 6), (200, 10 * number, 30)).convert("P", palette=Image.Palette.ADAPTIVE).save(file)
    data = load_dataset(str(tmp_path / "own"))
    assert data.channels == 3
    assert set(data.train.values[:, 0].unique().tolist()) == {200}


def test_what_a_killed_decoding_left_is_removed_but_not_what_is_being_written(tmp_path, cache):
    cache.mkdir(parents=True)
    old, fresh = (cache / f".{name}.safetensors.x{PART}" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    write(tmp_path / "own.parquet", pixels(10, 3), [0, 1] * 5)
    load_dataset(str(tmp_path / "own.parquet"))
    assert not old.exists()
    assert fresh.exists()


def test_bad_sources_are_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv(HERE, str(tmp_path))
    with pytest.raises(ValueError, match=r"unknown data set 'cifar': did you mean 'cifar10'"):
        load_dataset("cifar")
    with pytest.raises(ValueError, match=r"svhn has no train\*\.parquet"):
        load_dataset("svhn")
    (tmp_path / "fashion_mnist").mkdir()
    (tmp_path / "fashion_mnist/train.parquet").write_bytes(b"PAR1 is how it begins")
    with pytest.raises(ValueError, match="cannot load data set 'fashion_mnist'"):
        load_dataset("fashion_mnist")
    mixed = [*pixels(2, 3), *pixels(2, 3, size=5)]
    write(tmp_path / "cifar10/train.parquet", mixed, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="differ in size"):
        load_dataset("cifar10")


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "TEST"), ("Training", "Testing"), ("train", "Valid")], ids=str)
def test_folders_of_splits_are_told_by_their_names_in_any_case(names, tmp_path):
    for name, count in zip(names, (10, 4), strict=True):
        by_class(tmp_path / "own" / name, pixels(count, 3))
    data = load_dataset(str(tmp_path / "own"))
    assert (len(data.train), len(data.test)) == (10, 4)


@pytest.mark.parametrize("names", [("trainset", "testset"), ("train", "kept"), ("a", "test")], ids=str)
def test_folders_above_the_classes_that_are_no_split_are_refused(names, tmp_path):
    for name in names:
        by_class(tmp_path / "own" / name, pixels(4, 3))
    with pytest.raises(ValueError, match=r"above the class folders in .* must be named train and test"):
        load_dataset(str(tmp_path / "own"))


def test_a_class_may_be_called_train(tmp_path):
    for number, image in enumerate(pixels(10, 3)):
        file = tmp_path / "own" / ("train", "bus")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    assert load_dataset(str(tmp_path / "own")).train.classes == 2


def test_files_that_are_no_split_are_refused(tmp_path):
    for name in ("mytrain", "mytest"):
        write(tmp_path / f"own/{name}.parquet", pixels(4, 3), [0, 1] * 2)
    with pytest.raises(ValueError, match=r"name the files train\*.parquet and test\*.parquet"):
        load_dataset(str(tmp_path / "own"))
    for name in ("Train-0", "Train-1", "TEST"):
        write(tmp_path / f"other/{name}.parquet", pixels(4, 3), [0, 1] * 2)
    assert len(load_dataset(str(tmp_path / "other")).train) == 8


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ([3, 7] * 5, "are 3, 7: number the classes from 0 without gaps"),
        ([0.5, 1.5] * 5, "labels must be integers, not torch.float32"),
        (["cat", "dog"] * 5, "labels are strings, such as 'cat'"),
    ],
)
def test_labels_that_are_not_classes_are_refused(labels, line, tmp_path):
    write(tmp_path / "own.parquet", pixels(10, 3), labels)
    with pytest.raises(ValueError, match=line):
        load_dataset(str(tmp_path / "own.parquet"))


def test_the_column_of_labels_is_never_guessed(tmp_path):
    write(tmp_path / "own.parquet", pixels(10, 3), list(range(10)), label="age")
    with pytest.raises(ValueError, match=r"columns img, age can be identified .* rename them to 'image' and 'label'"):
        load_dataset(str(tmp_path / "own.parquet"))


def test_every_named_set_is_known_by_its_statistics():
    assert {*HUB, "digits", "digits-events", "nmnist"} == set(DATASETS)
    assert {"cifar10", "cifar100", "svhn", "tinyimagenet", "mnist", "fashion_mnist"} == set(HUB)
    assert all(len(hub.mean) == len(hub.std) for hub in HUB.values())


@real
def test_real_cifar10(monkeypatch):
    monkeypatch.setenv(HERE, str(REAL))
    data = load_dataset("cifar10")
    assert (data.channels, data.size, data.train.classes, len(data.train)) == (3, 32, 10, 50_000)
    assert data.test.labels.bincount().tolist() == [len(data.test) // 10] * 10
    mean = data.train.values[:10_000].float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(mean, torch.tensor(data.mean), atol=0.01, rtol=0)
