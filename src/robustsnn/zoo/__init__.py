"""Pretrained networks by name: ``zoo:NAME`` for those in the package, ``hf://USER/NAME`` for those on the Hugging Face Hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from robustsnn.names import find, one_line

PREFIX = "zoo:"
WHEEL_ONLY = ("cifar10-robust",)
"""Networks of several megabytes, which a source distribution leaves out; wheels and clones hold them."""


def zoo() -> dict[str, Path]:
    """Return the files of the networks, by name."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.safetensors"))}


def named(path: Path | str) -> bool:
    """Whether this is a name that `located` looks up, not a path."""
    return str(path).startswith((PREFIX, HUB))


def located(path: Path | str) -> Path:
    """Return the file for ``zoo:NAME`` or ``hf://USER/NAME``, which is downloaded, else the path itself.

    Raises:
        ValueError: no such network, or one that this installation does not hold.
    """
    if not str(path).startswith(PREFIX):
        return Path(path)
    name, found = str(path).removeprefix(PREFIX), zoo()
    if name in WHEEL_ONLY and name not in found:
        raise ValueError(
            f"{path} is not in this installation: source distributions leave it out to stay small. "
            "Install robustsnn from a wheel, or run 'pip install .' in a clone of the repository"
        )
    return find("network of the zoo", found, name)
