"""Data sets: scikit-learn's digits, common benchmarks, or any Hugging Face hub name, image folder or parquet file."""

import glob
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustsnn.data.decoded import HERE as HERE
from robustsnn.data.decoded import cache_of, keep, read, written
from robustsnn.data.decoding import decoded, mixed
from robustsnn.data.recordings import nmnist, nmnist_folder, of_folder, of_recordings
from robustsnn.data.samples import Dataset, Samples, split, statistics
from robustsnn.data.simulated import digits_events, drawn
from robustsnn.data.splits import SPLITS, chosen, of_files, of_folders
from robustsnn.names import nearest, one_line


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels with 17 grey levels; one quarter is for testing.

    The stratified split is fixed, so results are comparable. Source: UCI "Optical recognition of handwritten digits".
    """
    levels, labels = drawn()
    pixels = torch.from_numpy(np.rint(levels * (255 / 16)).astype(np.uint8))
    everything = Samples(pixels[:, None], torch.from_numpy(labels), classes=10)
    train, test = split(everything, held_out=0.25, seed=0)
    return Dataset("digits", train, test, mean=(0.305,), std=(0.376,))


@dataclass(frozen=True)
class Hub:
    """A data set on the hub: its path, normalisation statistics, label column and configuration."""

    path: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    label: str = ""
    config: str | None = None


HUB: dict[str, Hub] = {
    "cifar10": Hub("uoft-cs/cifar10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": Hub("uoft-cs/cifar100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), label="fine_label"),
    "svhn": Hub("ufldl-stanford/svhn", (0.5,) * 3, (0.5,) * 3, config="cropped_digits"),
    "tinyimagenet": Hub("zh-plus/tiny-imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": Hub("ylecun/mnist", (0.1307,), (0.3081,)),
    "fashion_mnist": Hub("zalando-datasets/fashion_mnist", (0.2860,), (0.3530,)),
}


def load_dataset(name: str) -> Dataset:
    """Load a data set by name, hub name (``owner/name``), folder of images, parquet files or recordings, or parquet file.

    All but the digits are decoded once into a cache (``~/.cache/robustsnn``, or ``XDG_CACHE_HOME``), which is memory-mapped
    afterwards and checked against its digest. Test images are the split ``test``, else ``valid`` or ``validation``, else a
    fixed, stratified fifth. Images sorted by class are put in a fixed random order, so the first n are a fair sample. If any
    image is in colour or has a palette, all become RGB. Recordings are ``.bin`` or ``.npz`` files in a folder per class, and
    become 8 frames, or as many as ``folder?steps=16`` says.

    Raises:
        ValueError: the name is unknown, files cannot be read, or images differ in size.
    """
    if name in DATASETS:
        return DATASETS[name]()
    check_name(name)
    if of_recordings(name):
        return of_folder(name)
    return _from_hub(name, Hub(name))


def check_name(name: str) -> str:
    """Return the name if it can name a data set.

    Raises:
        ValueError: it is neither a known name nor a path.
    """
    if name not in DATASETS and "/" not in name and not (name and Path(name.partition("?")[0]).exists()):
        raise ValueError(
            f"unknown data set {name!r}: {nearest(name, DATASETS)}; or use owner/name on the hub, a folder or a .parquet file"
        )
    return name


def _from_hub(name: str, hub: Hub) -> Dataset:
    files = local_files(name)
    cache = cache_of(name, _digest_files(files) if files else written(Path(name)) if _is_folder(name) else hub.path)
    cached = read(cache) or _decode(name, hub, files, cache)
    classes = int(max(cached["train.labels"].max(), cached["test.labels"].max())) + 1
    train, test = (Samples(cached[f"{part}.pixels"], cached[f"{part}.labels"], classes) for part in ("train", "test"))
    mean, std = (hub.mean, hub.std) if hub.mean else statistics(train)
    return Dataset(name, train, test, mean, std)


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    **{name: partial(_from_hub, name, hub) for name, hub in HUB.items()},
    "digits-events": digits_events,
    "nmnist": nmnist,
}


def local_files(name: str) -> dict[str, list[Path]]:
    """Return the local parquet files of a data set, by split; empty if it comes from the hub or is not parquet.

    Raises:
        ValueError: the folder in `HERE` has no training images of that data set.
    """
    path = Path(name)
    if path.suffix == ".parquet":
        return {"train": [path]}
    folder = Path(os.environ[HERE]) / name if name in HUB and os.environ.get(HERE) else path
    found = of_files(folder)
    if folder != path and not any(file.name.lower().startswith("train") for file in found.get("train", ())):
        raise ValueError(f"{HERE} is set, but {folder} has no train*.parquet: put it there, or unset {HERE} to use the hub")
    return found


def whereabouts(name: str) -> str:
    """Return where a known data set is on this machine; empty if it would come from the hub.

    Raises:
        ValueError: the folder in `HERE` has no training images of that data set.
    """
    if name == "nmnist":
        return str(nmnist_folder() or "")
    if name not in HUB:
        return "embedded in scikit-learn"
    if files := local_files(name):
        return str(files["train"][0].parent)
    cache = cache_of(name, HUB[name].path)
    return str(cache) if cache.exists() else ""


def _is_folder(name: str) -> bool:
    """Return whether the name is a folder and not a known data set."""
    return name not in HUB and Path(name).is_dir()


def _digest_files(files: Mapping[str, Sequence[Path]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part, paths in files.items():
        for path in paths:
            try:
                with path.open("rb") as file:
                    digest.update(part.encode() + hashlib.file_digest(file, "blake2b").digest())
            except OSError as error:
                raise ValueError(f"cannot read {path}: {error.strerror}; check the path") from None
    return digest.hexdigest()


def _decode(name: str, hub: Hub, files: Mapping[str, Sequence[Path]], cache: Path) -> dict[str, Tensor]:
    try:
        import datasets
    except ImportError:
        raise ValueError(f"data set {name!r} needs the extra 'datasets': pip install 'robustsnn[datasets]'") from None
    folders = of_folders(Path(name)) if not files and _is_folder(name) else {}
    quiet, level = datasets.utils.logging.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are reported once, below
    try:
        if files:
            texts = {part: [str(path) for path in paths] for part, paths in files.items()}
            found = datasets.load_dataset("parquet", data_files=texts)
        elif folders:
            patterns = {part: f"{glob.escape(str(path))}/**" for part, path in folders.items()}
            found = datasets.load_dataset("imagefolder", data_files=patterns)
        else:
            found = datasets.load_dataset(hub.path, hub.config)
    except Exception as error:
        what = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(
            f"cannot load data set {name!r} ({what}): check the name and the internet connection, or set {HERE} to a folder "
            f"with {name}/train*.parquet"
        ) from None
    finally:
        datasets.logging.set_verbosity(level)
        if quiet:
            datasets.enable_progress_bars()
    tensors, seen, known = {}, set[int](), 0
    for part, here in chosen(found).items():
        images, labels, told = decoded(name, found[here], hub.label, len(hub.mean))
        tensors[f"{part}.pixels"], tensors[f"{part}.labels"] = mixed(images, labels)
        seen, known = seen | set(labels.tolist()), max(known, told)
    if "train.pixels" not in tensors:
        raise ValueError(f"data set {name!r} has no split 'train', only {', '.join(map(str, found))}: rename one of them")
    if not known and seen != set(range(len(seen))):
        few = ", ".join(map(str, sorted(seen)[:12]))
        raise ValueError(f"labels of data set {name!r} are {few}: number the classes from 0 without gaps")
    if "test.pixels" not in tensors:
        classes = int(tensors["train.labels"].max()) + 1
        rest, held = split(Samples(tensors["train.pixels"], tensors["train.labels"], classes), 0.2, seed=0)
        tensors = {"train.pixels": rest.values, "train.labels": rest.labels}
        tensors |= {"test.pixels": held.values, "test.labels": held.labels}
    channels = max(tensors[f"{part}.pixels"].shape[1] for part in SPLITS)
    tensors |= {f"{part}.pixels": tensors[f"{part}.pixels"].expand(-1, channels, -1, -1) for part in SPLITS}
    return keep(cache, name, tensors)
