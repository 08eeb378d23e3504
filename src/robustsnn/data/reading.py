"""Labelled samples from loaders, data sets, tensors and arrays."""

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
    """Read labelled samples into memory, in the order of the data set.

    Arguments:
        data: `Samples`; a tuple ``(x, y)`` of tensors or numpy arrays; a torch ``DataLoader`` of ``(x, y)``; a data set with
            a length and items ``(x, y)``, such as torchvision's, a ``TensorDataset`` or a list of pairs; or a data set of the
            library ``datasets``.
        classes: number of classes; if None, as ``data`` says, else the highest label plus one.
        limit: read at most this many samples, the first ones; required for data without a length.

    ``x`` is a tensor or array in ``[0, 1]`` or of bytes, with the axes that the network takes, or a PIL image; ``y`` is an
    integer. A loader's shuffling and ``drop_last`` are ignored, so every sample keeps its id. Random transforms are drawn
    once, with a fixed seed.

    Raises:
        ValueError: the kind of ``data`` is not supported, or its labels, values or columns are invalid.

    >>> len(as_samples((torch.zeros(3, 1, 8, 8), torch.tensor([0, 2, 1]))))
    3
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 sample, not {limit}")
    if isinstance(data, Samples):
        return replace(data.first(limit), classes=classes or data.classes)
    features = getattr(data, "features", None)  # for data sets of the library `datasets`
    kinds = features if isinstance(features, Mapping) else {}
    if isinstance(data, tuple):
        values, labels = _pair(data, "data")
        values, labels = _tensor(values)[:limit], _labels(labels)[:limit]
    else:
        with randomness("samples"):
            values, labels = _read(data, limit, kinds)
    if values.is_floating_point():
        values = values.float()
    if not len(labels):
        raise ValueError("the data hold no samples: pass at least one")
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
        raise ValueError(f"{type(data).__name__} holds no samples: use one that does")
    first, *others = {tuple(x.shape[1:]): None for x, _ in found}
    if others:
        raise ValueError(f"inputs differ in shape ({list(first)}, {list(others[0])}): resize them to one shape")
    values, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return values[:limit], labels[:limit]


def _items(data: Any, limit: int | None) -> Iterable[Any]:
    """Return the items of a data set, in order."""
    if isinstance(data, Dataset):
        raise ValueError(f"data set {data.name!r} has two parts: pass its .train or .test")
    if isinstance(data, Tensor | np.ndarray):
        raise ValueError(f"inputs {list(data.shape)} come without labels: pass both, as (x, y)")
    if isinstance(data, Mapping):
        raise ValueError(f"{type(data).__name__} has the parts {', '.join(map(str, data))}: pass one of them")
    if isinstance(data, str):
        raise ValueError(
            f"{data[:80]!r} is not data: for a data set of that name pass load_dataset(...).train or .test; an objective is "
            "the argument objective="
        )
    if isinstance(data, list) and len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data):
        raise ValueError("a list must hold one pair (x, y) per sample: pass inputs and labels as a tuple, (x, y)")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        return (data[place] for place in range(len(data)))
    if not isinstance(data, Iterable):
        raise ValueError(
            f"data cannot be {type(data).__name__}: "
            "pass (x, y) tensors, a DataLoader, a data set with items (x, y), or Samples"
        )
    return _ending(data, limit, "it has")


def _ending(data: Iterable[Any], limit: int | None, what: str) -> Iterable[Any]:
    """Return the iterable; data without a length needs a limit."""
    try:
        len(data)  # type: ignore[arg-type]
    except TypeError:
        if limit is None:
            raise ValueError(f"{type(data).__name__}: {what} no length and may never end, so set a limit") from None
    return data


def _of_loader(loader: DataLoader[Any], limit: int | None) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of a loader in the order of its data set, up to ``limit`` samples."""
    if isinstance(loader.dataset, IterableDataset):
        batches = _ending(loader, limit, "its data set has")
    elif loader.batch_sampler is None:
        raise ValueError("a DataLoader with batch_size=None makes no batches: pass its data set")
    else:
        own = type(loader.batch_sampler) is not BatchSampler
        drawn: Any = loader.batch_sampler if own else loader.sampler
        whole = isinstance(drawn, SequentialSampler) or (
            isinstance(drawn, RandomSampler) and not drawn.replacement and drawn.num_samples == len(loader.dataset)  # type: ignore[arg-type]
        )
        if own or not whole:
            raise ValueError(
                f"a DataLoader with a {type(drawn).__name__} may skip or repeat samples: "
                "pass its data set, or a torch.utils.data.Subset of it"
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
    """Return the input and the label of an entry."""
    if isinstance(entry, Mapping):
        image, label = columns(entry, kinds)
        return entry[image], entry[label]
    if isinstance(entry, tuple | list) and len(entry) == 2:
        return entry[0], entry[1]
    given = f"{len(entry)} parts" if isinstance(entry, tuple | list) else type(entry).__name__
    raise ValueError(f"{what} must be inputs and labels, (x, y), not {given}")


def _tensor(x: Any) -> Tensor:
    """Return inputs as a tensor."""
    if isinstance(x, Image.Image):
        x = pixels(x)
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy()
    try:
        return torch.as_tensor(x).detach().to_dense()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"inputs cannot be {type(x).__name__} ({one_line(error)}): pass tensors, arrays or PIL images"
        ) from None


def _labels(y: Any) -> Tensor:
    """Return labels as int64 ``[N]``; a last axis of length 1 is dropped."""
    found = whole_numbers(y)
    if found.numel() == (len(found) if found.dim() else 1):
        return found.flatten()
    raise ValueError(f"labels must be [N], one number per sample, not {list(found.shape)}: of one-hot rows use argmax(1)")
