"""What users hold, as labelled inputs: loaders, data sets, tensors and arrays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from robustsnn.data.decoding import columns, pixels, whole_numbers
from robustsnn.data.samples import Dataset, Samples
from robustsnn.names import one_line
from robustsnn.seeds import generator, randomness


def as_samples(data: Any, classes: int | None = None, limit: int | None = None) -> Samples:
    """The samples that ``data`` stands for, read into memory in their own order.

    Arguments:
        data: `Samples`; ``(x, y)`` tensors or numpy arrays; a torch ``DataLoader`` of ``(x, y)``; a data set with a length
            whose items are ``(x, y)``: of torchvision, ``TensorDataset``, a list of pairs; or one of the library ``datasets``.
        classes: how many there are; if None, as many as ``data`` says, else the highest label and one.
        limit: read no more than this many, the first ones; what has no end needs one.

    ``x`` is a tensor or array in ``[0, 1]`` or of bytes, axes as the network takes them, or a PIL image; ``y`` a whole number.
    A loader's data set is read in order, whether the loader shuffles or drops a last batch or not, so that a sample has the
    same id every time. Random transforms are drawn once, always the same ones.

    Raises:
        ValueError: data of another kind, or labels, values or columns that `Samples` and this do not take.

    >>> len(as_samples((torch.zeros(3, 1, 8, 8), torch.tensor([0, 2, 1]))))
    3
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 sample, not {limit}")
    if isinstance(data, Samples):
        return replace(data.first(limit), classes=classes or data.classes)
    features = getattr(data, "features", None)  # of the library `datasets`
    kinds = features if isinstance(features, Mapping) else {}
    if isinstance(data, tuple):
        values, labels = _pair(data, "data")
        values, labels = _tensor(values)[:limit], _labels(labels)[:limit]
    else:
        with randomness("samples"):
            values, labels = _read(data, limit, kinds)
    if values.is_floating_point():
        values = values.float()
    told = int(getattr(kinds[columns(kinds, kinds)[1]], "num_classes", 0)) if kinds else 0
    return Samples(values, labels.to(values.device), classes or told or int(labels.max()) + 1)


def _read(data: Any, limit: int | None, kinds: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    if isinstance(data, DataLoader):
        pairs: Iterator[tuple[Any, Any]] = _of_loader(data, limit)
        found = [(_tensor(x), _labels(y)) for x, y in pairs]
    else:
        pairs = (_pair(item, f"item {i}", kinds) for i, item in enumerate(islice(_items(data, limit), limit)))
        found = [(_tensor(x)[None], _labels(y)) for x, y in pairs]
    if not found:
        raise ValueError(f"{type(data).__name__} holds no samples: give one that does")
    first, *others = {tuple(x.shape[1:]): None for x, _ in found}
    if others:
        raise ValueError(f"inputs differ in shape ({list(first)}, {list(others[0])}): make them one size")
    values, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return values[:limit], labels[:limit]


def _items(data: Any, limit: int | None) -> Iterable[Any]:
    """What a data set holds, one sample after the other."""
    if isinstance(data, Dataset):
        raise ValueError(f"data set {data.name!r} has two parts: give .train or .test")
    if isinstance(data, Tensor | np.ndarray):
        raise ValueError(f"inputs {list(data.shape)} come without labels: give both, as (x, y)")
    if isinstance(data, Mapping):
        raise ValueError(f"{type(data).__name__} has the parts {', '.join(map(str, data))}: give one of them")
    if isinstance(data, str):
        raise ValueError(f"{data[:80]!r} is a text: for the data set of that name give load_dataset(...).train or .test")
    if isinstance(data, list) and len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data):
        raise ValueError("a list holds one pair (x, y) per sample: give inputs and labels as a tuple, (x, y)")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        return (data[place] for place in range(len(data)))
    if not isinstance(data, Iterable):
        raise ValueError(
            f"data cannot be {type(data).__name__}: "
            "give (x, y) tensors, a DataLoader, a data set whose items are (x, y), or Samples"
        )
    return _ending(data, limit, "it has")


def _ending(data: Iterable[Any], limit: int | None, what: str) -> Iterable[Any]:
    """Something to iterate over, if it ends."""
    try:
        len(data)  # type: ignore[arg-type]
    except TypeError:
        if limit is None:
            raise ValueError(
                f"{type(data).__name__}: {what} no length and may never end, so give a limit of samples"
            ) from None
    return data


def _of_loader(loader: DataLoader[Any], limit: int | None) -> Iterator[tuple[Any, Any]]:
    """The batches of a loader in its data set's order, until there are enough."""
    if isinstance(loader.dataset, IterableDataset):
        batches = _ending(loader, limit, "its data set has")
    elif loader.batch_sampler is None:
        raise ValueError("a DataLoader with batch_size=None makes no batches: give its data set")
    else:
        own = type(loader.batch_sampler) is not BatchSampler
        drawn: Any = loader.batch_sampler if own else loader.sampler
        whole = isinstance(drawn, SequentialSampler) or (
            isinstance(drawn, RandomSampler) and not drawn.replacement and drawn.num_samples == len(loader.dataset)  # type: ignore[arg-type]
        )
        if own or not whole:
            raise ValueError(
                f"a DataLoader with a {type(drawn).__name__} may leave samples out or show them twice: "
                "give its data set, or a torch.utils.data.Subset of it"
            )
        batches = DataLoader(
            loader.dataset,
            loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            multiprocessing_context=loader.multiprocessing_context,
            worker_init_fn=loader.worker_init_fn,
            generator=generator(0, "samples"),
        )
    count = 0
    for number, batch in enumerate(batches):
        x, y = _pair(batch, f"batch {number}")
        yield x, y
        count += len(x)
        if limit is not None and count >= limit:
            return


def _pair(entry: Any, what: str, kinds: Mapping[str, Any] = {}) -> tuple[Any, Any]:
    """Input and label."""
    if isinstance(entry, Mapping):
        image, label = columns(entry, kinds)
        return entry[image], entry[label]
    if isinstance(entry, tuple | list) and len(entry) == 2:
        return entry[0], entry[1]
    given = f"{len(entry)} parts" if isinstance(entry, tuple | list) else type(entry).__name__
    raise ValueError(f"{what} must be inputs and labels, (x, y), not {given}")


def _tensor(x: Any) -> Tensor:
    """Inputs as a tensor."""
    if isinstance(x, Image.Image):
        x = pixels(x)
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy()
    try:
        return torch.as_tensor(x).detach().to_dense()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"inputs cannot be {type(x).__name__} ({one_line(error)}): give tensors, arrays or PIL images"
        ) from None


def _labels(y: Any) -> Tensor:
    """Labels ``[N]``; a last axis of length 1 is dropped."""
    found = whole_numbers(y)
    if found.numel() == (len(found) if found.dim() else 1):
        return found.flatten()
    raise ValueError(f"labels must be [N], one number per sample, not {list(found.shape)}: of one-hot rows take argmax(1)")
