"""What users hold becomes the same samples, whatever holds it; what is unclear is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

from robustsnn.data import Samples, as_samples, digits
from robustsnn.seeds import generator

pytestmark = pytest.mark.usefixtures("unchecked")

X = (torch.arange(10 * 2 * 3 * 4) % 256).to(torch.uint8).view(10, 2, 3, 4)
Y = torch.arange(10) % 3


class Pairs:
    """A data set as torchvision's: items by place, and a length."""

    def __init__(self, make=lambda x, y: (x, y), x=X, y=Y):
        self.make, self.x, self.y = make, x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, place):
        if place >= len(self.x):
            raise IndexError
        return self.make(self.x[place], self.y[place])


class Stream(IterableDataset):
    def __iter__(self):
        place = 0
        while True:
            yield X[place % 10], int(Y[place % 10])
            place += 1


def same(found, x=X, y=Y, classes=3):
    assert found.values.dtype == x.dtype
    assert torch.equal(found.values, x)
    assert torch.equal(found.labels, y)
    assert found.ids.tolist() == list(range(len(y)))
    assert found.classes == classes


def grey(x, y):
    return Image.fromarray(x[0].numpy()), int(y)


HELD = {
    "samples": lambda: Samples(X, Y, 3),
    "tensors": lambda: (X, Y),
    "arrays": lambda: (X.numpy(), Y.numpy().astype(np.uint8)),
    "a loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=4),
    "a shuffled loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
    "a loader that drops the last batch": lambda: DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=True),
    "a loader with workers": lambda: DataLoader(TensorDataset(X, Y), batch_size=4, num_workers=1),
    "a data set of tensors": lambda: TensorDataset(X, Y),
    "a data set of numbers": lambda: Pairs(lambda x, y: (x, int(y))),
    "labels of one place": lambda: Pairs(lambda x, y: (x.numpy(), np.array([int(y)]))),
    "a list of pairs": lambda: list(zip(X, Y.tolist(), strict=True)),
    "named": lambda: Pairs(lambda x, y: {"image": x, "label": y}),
    "labels in a column": lambda: (X, Y[:, None]),
    "a part": lambda: Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), list(range(10))),
    "an endless stream": lambda: Stream(),
    "a loader of an endless stream": lambda: DataLoader(Stream(), batch_size=4),
}


@pytest.mark.parametrize("kind", HELD)
def test_whatever_holds_them_they_are_the_same_samples(kind):
    before = torch.get_rng_state()
    same(as_samples(HELD[kind](), limit=10))
    same(as_samples(HELD[kind](), limit=6), X[:6], Y[:6])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16], ids=str)
def test_floats_of_any_type_become_float32(kind):
    x = (X / 255).to(kind)
    same(as_samples(DataLoader(TensorDataset(x, Y), batch_size=3)), x.float())
    same(as_samples((x.numpy(), Y.numpy())), x.float())


def test_pictures_are_read_as_pixels():
    same(as_samples(Pairs(grey)), X[:, :1])
    colour = torch.cat([X, X[:, :1]], 1)
    same(as_samples(Pairs(lambda x, y: (Image.fromarray(x.permute(1, 2, 0).numpy()), int(y)), colour)), colour)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda image: image.convert("LA"), X[:, :1]),
        (lambda image: Image.fromarray(np.asarray(image, np.uint16) * 257), X[:, :1]),
        (lambda image: image.convert("1"), None),
    ],
)
def test_modes_of_pictures_that_are_clear_are_scaled(change, expected):
    found = as_samples(Pairs(lambda x, y: (change(grey(x, y)[0]), int(y))))
    assert found.values.shape == (10, 1, 3, 4)
    assert torch.equal(found.values, expected) if expected is not None else set(found.values.unique().tolist()) <= {0, 255}


def transparent(x, y):
    return Image.new("RGBA", (4, 3), (9, 9, 9, 100)), int(y)


NONE = [
    (lambda: X, r"without labels: pass both"),
    (lambda: [X, Y], r"as a tuple"),
    (lambda: (X, Y, Y), r"\(x, y\), not 3 parts"),
    (lambda: Pairs(lambda x, y: (x, y, 0)), r"item 0 must be inputs and labels, \(x, y\), not 3 parts"),
    (lambda: DataLoader(X, batch_size=2), r"batch 0 must be inputs and labels.*not Tensor"),
    (lambda: (X, (Y.float() + 0.5)), "labels must be integers"),
    (lambda: Pairs(lambda x, y: (x, "cat")), "labels are strings, such as 'cat'"),
    (lambda: (X, torch.nn.functional.one_hot(Y)), r"of one-hot rows use argmax\(1\)"),
    (lambda: (X, torch.nn.functional.one_hot(Y).double()), r"not torch.float64: of one-hot rows use argmax\(1\)"),
    (lambda: (X.long(), Y), r"uint8 \(0 .. 255\) or float32 in \[0, 1\], not torch.int64"),
    (lambda: ((X / 255 - 0.5) / 0.25, Y), r"range over -2 .. 1.749: .*leave normalisation to the network"),
    (lambda: (X[:9], Y), r"need labels \[N\]"),
    (lambda: Pairs(lambda x, y: (x[:, : 2 + int(y)], y)), "inputs differ in shape"),
    (lambda: digits(), "pass its .train or .test"),
    (lambda: {"train": TensorDataset(X, Y)}, "has the parts train: pass one"),
    (lambda: "digits", "load_dataset"),
    (lambda: 7, "data cannot be int"),
    (lambda: Stream(), "no length and may never end, so set a limit"),
    (lambda: DataLoader(Stream(), batch_size=2), "no length and may never end, so set a limit"),
    (
        lambda: DataLoader(TensorDataset(X, Y), sampler=SubsetRandomSampler([1, 2])),
        "SubsetRandomSampler may skip or repeat samples",
    ),
    (
        lambda: DataLoader(TensorDataset(X, Y), sampler=WeightedRandomSampler([1.0] * 10, 10)),
        "WeightedRandomSampler may skip",
    ),
    (lambda: DataLoader(TensorDataset(X, Y), batch_sampler=[[1, 2], [3]]), "with a list may skip or repeat samples"),
    (lambda: DataLoader(TensorDataset(X, Y), batch_size=None), "makes no batches"),
    (lambda: [], "holds no samples"),
    (lambda: (X[:0], Y[:0]), "hold no samples: pass at least one"),
    (lambda: "Natural()", "an objective is the argument objective="),
    (lambda: Pairs(lambda x, y: {"image": x, "age": y, "fold": y}), "columns image, age, fold can be identified"),
    (lambda: Pairs(lambda x, y: (Image.new("F", (4, 3)), int(y))), "mode 'F' is unknown"),
    (lambda: Pairs(transparent), "has transparent pixels"),
    (lambda: Pairs(lambda x, y: (object(), int(y))), "inputs cannot be object"),
]


@pytest.mark.parametrize(("make", "line"), NONE, ids=[line for _, line in NONE])
def test_what_is_unclear_is_refused(make, line):
    with pytest.raises(ValueError, match=line):
        as_samples(make())


def test_classes_are_counted_unless_they_are_given():
    assert as_samples((X, Y)).classes == 3
    assert as_samples((X, Y), classes=7).classes == as_samples(Samples(X, Y, 3), classes=7).classes == 7
    with pytest.raises(ValueError, match=r"0 \.\. 1, but range over 0 \.\. 2"):
        as_samples(TensorDataset(X, Y), classes=2)


def test_random_transforms_are_drawn_once_and_always_the_same():
    jittered = Pairs(lambda x, y: (torch.rand(2), y))
    first, again = as_samples(jittered), as_samples(DataLoader(jittered, batch_size=1))
    assert torch.equal(first.values, as_samples(jittered).values)
    assert len(first.values.unique()) == 20
    assert again.values.shape == first.values.shape


def test_moving_inputs_are_read_like_still_ones():
    moving = torch.rand(6, 5, 2, 4, 4, generator=generator(0, "test"))
    same(as_samples(DataLoader(TensorDataset(moving, Y[:6]), batch_size=4)), moving, Y[:6])


class TestTables:
    """Of the library ``datasets``."""

    @pytest.fixture
    def datasets(self):
        return pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")

    @staticmethod
    def table(datasets, types, **columns):
        features = {name: types.get(name, datasets.Value("int64")) for name in columns}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    @pytest.fixture
    def pictures(self):
        return [grey(x, 0)[0] for x in X]

    def test_columns_are_told_by_name_or_type(self, datasets, pictures):
        names = datasets.ClassLabel(names=["a", "b", "c", "d"])
        found = as_samples(self.table(datasets, {"photo": datasets.Image(), "kind": names}, photo=pictures, kind=Y, age=Y))
        same(found, X[:, :1], classes=4)
        found = as_samples(self.table(datasets, {"image": datasets.Image()}, image=pictures, label=Y, age=Y))
        same(found, X[:, :1])
        stream = self.table(datasets, {"image": datasets.Image()}, image=pictures, label=Y).to_iterable_dataset()
        same(as_samples(stream, limit=4), X[:4, :1], Y[:4])

    def test_a_column_is_never_guessed(self, datasets, pictures):
        table = self.table(datasets, {"image": datasets.Image()}, image=pictures, target=Y, age=Y)
        with pytest.raises(ValueError, match=r"columns image, target, age can be identified .*rename_column"):
            as_samples(table)
        same(as_samples(table.rename_column("target", "label")), X[:, :1])
        names = datasets.ClassLabel(names=["a", "b", "c"])
        two = {"image": datasets.Image(), "fine": names, "coarse": names}
        with pytest.raises(ValueError, match="columns image, fine, coarse can be identified"):
            as_samples(self.table(datasets, two, image=pictures, fine=Y, coarse=Y))


def test_samples_show_their_shape_and_not_their_values():
    assert repr(as_samples((X.clone(), Y.clone()), classes=12)) == f"Samples(10 of {list(X.shape[1:])}, uint8, 12 classes)"
    assert "Samples(1347 of [1, 8, 8], uint8, 10 classes)" in repr(digits())
