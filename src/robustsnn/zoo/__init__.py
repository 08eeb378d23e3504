"""Pretrained networks by name: ``zoo:NAME`` for those in the package, ``hf://USER/NAME`` for those on the Hugging Face Hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from robustsnn.names import find, one_line

PREFIX, HUB = "zoo:", "hf://"
WHEEL_ONLY = ("cifar10-robust",)
"""Networks of several megabytes: wheels and clones contain them, source distributions do not."""
FILE = "model.safetensors"
"""The checkpoint in a repository of the hub."""


def zoo() -> dict[str, Path]:
    """Return the files of the networks, by name."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.safetensors"))}


def named(path: Path | str) -> bool:
    """Whether this is a name that `located` looks up, not a path."""
    return str(path).startswith((PREFIX, HUB))


def located(path: Path | str) -> Path:
    """Return the file for ``zoo:NAME`` or ``hf://USER/NAME``, which is downloaded, else the path itself.

    Raises:
        ValueError: no such network, one that this installation does not contain, or the hub cannot be reached.
    """
    name = str(path)
    if name.startswith(HUB):
        return _downloaded(name)
    if not name.startswith(PREFIX):
        return Path(path)
    wanted, packaged = name.removeprefix(PREFIX), zoo()
    if wanted in WHEEL_ONLY and wanted not in packaged:
        raise ValueError(
            f"{name} is not in this installation: it was installed from a source distribution. "
            "Install a wheel, or run 'pip install .' in a clone of the repository"
        )
    return find("network of the zoo", packaged, wanted)


def _downloaded(name: str) -> Path:
    """Return the file of ``hf://USER/NAME`` or ``hf://USER/NAME@REVISION``, from the hub's cache if it is there.

    Raises:
        ValueError: huggingface_hub is not installed, or the hub has no such file.
    """
    try:
        hub: Any = import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise ValueError(f"{name} needs the package huggingface_hub: pip install 'robustsnn[hub]'") from None
    repo, _, revision = name.removeprefix(HUB).partition("@")
    try:
        return Path(hub.hf_hub_download(repo, FILE, revision=revision or None))
    except Exception as error:  # those of the network and of the library share no class
        raise ValueError(f"cannot get {FILE} of {name}: {one_line(error)}. Check the name, and the connection") from None
