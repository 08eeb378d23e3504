"""Writing files atomically, and reading and writing tensors without pickle."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

PART = ".part"


def cache_folder() -> Path:
    """Return the folder for data that can be recreated: ``~/.cache/robustsnn``, or under ``XDG_CACHE_HOME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robustsnn"


def usable_cache() -> Path:
    """Return the cache folder if it can be written, else a folder for temporary files."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        there = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryDirectory(dir=there):  # the only reliable test for write access
            return folder
    return Path(tempfile.gettempdir()) / f"robustsnn-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that at any moment either the old or the complete new content exists.

    Raises:
        ValueError: the folder cannot be written; no partial file remains.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}; choose another folder or free some space") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def remove_leftovers(folder: Path, hours: float = 0) -> None:
    """Remove partial files of killed processes that are at least ``hours`` old; others may still be writing newer ones."""
    for path in folder.glob(f".*{PART}"):
        with suppress(FileNotFoundError):  # another process removed or finished it
            if time.time() - path.stat().st_mtime >= 3600 * hours:
                path.unlink()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors and texts to a safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}  # no shared memory
    write_atomic(path, serialise(plain, metadata=dict(metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and texts of a safetensors file. Nothing in it is executed.

    Raises:
        ValueError: the file does not exist or is not a safetensors file.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: use a checkpoint in it")
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}: check the path, or make one with 'robustsnn run'")
    if path.suffix == ".json":
        reader = "robustsnn.reporting.read_report(path.read_bytes(), path)"
        raise ValueError(f"{path} is not a checkpoint: use a .safetensors file, or read a report with {reader}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        pickled = "load weights of torch.save into a network, and save it with robustsnn.save(path, net)"
        remedy = pickled if path.suffix in (".pt", ".pth") else "check the path, or get it again"
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}): {remedy}") from None


def write_sealed(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write tensors and texts, one of which is the ``key`` of a computation, with a seal over all of them."""
    write_tensors(path, tensors, {**texts, "seal": _seal(tensors, texts)})


def read_sealed(path: Path, key: str, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_sealed` wrote.

    Raises:
        ValueError: the file is damaged, or of another key; ``what`` names the computation, such as ``"evaluation"``.
    """
    again = f"remove it to start the {what} again"
    try:
        tensors, texts = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{error}; {again}") from None
    seal = texts.pop("seal", "")
    if seal != _seal(tensors, texts):
        raise ValueError(f"{path} is damaged: its content does not match its seal; {again}")
    if texts["key"] != key:
        raise ValueError(f"{path} belongs to an {what} of another network, data or protocol; {again}")
    return tensors, texts


def _seal(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    whole = digest(tensors) + json.dumps(texts, sort_keys=True)
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a short text that changes with any name, type, shape or value."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()
