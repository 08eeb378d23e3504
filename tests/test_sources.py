"""Images from parquet files: decoded once, cached with a digest, split where there is no test part. No network."""

from __future__ import annotations

import io

import pytest
import torch

from real import REAL, real
from robustsnn.data import DATASETS, load_dataset
from robustsnn.data.sources import HERE, HUB

pytestmark = pytest.mark.usefixtures("unchecked")

datasets = pytest.importorskip("datasets", reason="the extra 'data' is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra 'data' is not installed")


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
    assert torch.equal(data.train.pixels, train)
    assert torch.equal(data.test.pixels, test)
    assert data.test.labels.tolist() == [2, 1, 0, 2]
    assert (data.mean, data.train.classes) == (HUB[name].mean, 3)


def test_images_are_decoded_once_and_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, cache):
    write(tmp_path / "cifar10/train.parquet", pixels(10, 3), [0, 1] * 5)
    monkeypatch.setenv(HERE, str(tmp_path))
    first = load_dataset("cifar10")
    (file,) = cache.iterdir()
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("decoded a second time"))
    assert torch.equal(load_dataset("cifar10").train.pixels, first.train.pixels)
    monkeypatch.undo()
    monkeypatch.setenv(HERE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert torch.equal(load_dataset("cifar10").train.pixels, first.train.pixels)


def test_other_files_are_another_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv(HERE, str(tmp_path))
    write(tmp_path / "cifar10/train.parquet", pixels(10, 3), [0, 1] * 5)
    before = load_dataset("cifar10").train.pixels
    write(tmp_path / "cifar10/train.parquet", pixels(10, 3, seed=5), [0, 1] * 5)
    assert not torch.equal(load_dataset("cifar10").train.pixels, before)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_set_without_test_images_gives_a_fifth_of_each_class(place, tmp_path):
    write(tmp_path / "own/images.parquet", pixels(20, 3), [0] * 10 + [1] * 10, image="image")
    data = load_dataset(str(tmp_path / "own/images.parquet" if place == "file" else tmp_path / "own"))
    assert (len(data.train), data.test.labels.bincount().tolist()) == (16, [2, 2])
    assert len(data.mean) == len(data.std) == 3


def test_a_folder_of_images_by_class(tmp_path):
    for number, image in enumerate(pixels(10, 3)):
        file = tmp_path / f"own/class{number % 2}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    data = load_dataset(str(tmp_path / "own"))
    assert (len(data.train), len(data.test), data.train.classes) == (8, 2, 2)


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


def test_every_named_set_is_known_by_its_statistics():
    assert {"cifar10", "cifar100", "svhn", "tinyimagenet", "mnist", "fashion_mnist", "digits"} == set(DATASETS)
    assert all(len(hub.mean) == len(hub.std) for hub in HUB.values())


@real
def test_real_cifar10(monkeypatch):
    monkeypatch.setenv(HERE, str(REAL))
    data = load_dataset("cifar10")
    assert (data.channels, data.size, data.train.classes, len(data.train)) == (3, 32, 10, 50_000)
    assert data.test.labels.bincount().tolist() == [len(data.test) // 10] * 10
    mean = data.train.pixels[:10_000].float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(mean, torch.tensor(data.mean), atol=0.01, rtol=0)
