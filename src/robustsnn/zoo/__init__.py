"""Trained networks that come with the package: checkpoints with their recipe and report inside, named ``zoo:NAME``."""

from __future__ import annotations

from pathlib import Path

from robustsnn.names import find

PREFIX = "zoo:"


def zoo() -> dict[str, Path]:
    """The files of the networks, by name."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.safetensors"))}


def located(path: Path | str) -> Path:
    """The file that a path stands for: that of the package for ``zoo:NAME``, else itself.

    Raises:
        ValueError: no such network.
    """
    name = str(path)
    return find("network of the zoo", zoo(), name.removeprefix(PREFIX)) if name.startswith(PREFIX) else Path(path)
