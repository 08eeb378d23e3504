"""The cache of decoded data sets: files named by what they were decoded from, checked against their digest."""

import hashlib
import os
from pathlib import Path

from torch import Tensor

from robustsnn.files import digest, read_tensors, remove_leftovers, usable_cache, write_tensors

HERE = "ROBUSTSNN_DATA"
"""Environment variable: a folder whose ``<name>/*.parquet`` files replace the hub's data set ``<name>``, and whose folder
``nmnist`` holds recordings."""

DECODING = 3
"""Version of the decoding; it changes whenever the same files decode differently."""


def cache_of(name: str, source: str) -> Path:
    """Return the cache file of a data set decoded from ``source``."""
    return usable_cache() / f"{hashlib.blake2b(f'{name} {source} {DECODING}'.encode(), digest_size=8).hexdigest()}.safetensors"


def written(folder: Path) -> str:
    """Return paths, sizes and modification times of all files in a folder."""
    paths = (Path(here, file) for here, _, files in os.walk(folder.resolve(), followlinks=True) for file in files)
    return repr(sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()))


def read(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of an intact cache file, else None."""
    if not path.exists():
        return None
    try:
        tensors, texts = read_tensors(path)
    except ValueError:
        return None
    return tensors if texts.get("digest") == digest(tensors) else None


def keep(path: Path, name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write a cache file, and return the tensors."""
    remove_leftovers(path.parent, hours=1)
    write_tensors(path, tensors, {"digest": digest(tensors), "name": name})
    return tensors
