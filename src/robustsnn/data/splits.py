"""Training and test splits of a folder, recognised by the exact names of files and subfolders."""

import re
from collections.abc import Iterable
from pathlib import Path

SPLITS = {"train": ("train", "training"), "test": ("test", "testing", "valid", "validation", "val")}
"""Accepted names of splits, files and folders, in upper or lower case; the first that exists is used."""


def chosen(names: Iterable[str]) -> dict[str, str]:
    """Return the name of each split that exists among ``names``."""
    small = {name.lower(): name for name in names}
    found = {part: next((small[word] for word in words if word in small), "") for part, words in SPLITS.items()}
    return {part: name for part, name in found.items() if name}


def of_files(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of a folder by split, such as ``train.parquet`` or ``test-00000-of-00001.parquet``. If no name
    mentions a split, all files are for training.

    Raises:
        ValueError: names mention a split in a form that `SPLITS` does not accept.
    """
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    heads: dict[str, list[Path]] = {}
    for file in files:
        heads.setdefault(re.split(r"[-_.\d]", file.name)[0], []).append(file)
    found = {part: heads[name] for part, name in chosen(heads).items()}
    if not found and any(re.search("test|train|valid", file.name, re.IGNORECASE) for file in files):
        raise ValueError(f"{folder}: unknown split in {files[0].name}: name the files train*.parquet and test*.parquet")
    return found or ({"train": files} if files else {})


def of_folders(folder: Path) -> dict[str, Path]:
    """Return the image folders by split; a folder that holds only class folders is the training split.

    Raises:
        ValueError: a folder above the class folders is not a split, or the training split is missing.
    """
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    above = [name for name, path in inside.items() if any(child.is_dir() for child in path.iterdir())]
    found = chosen(inside)
    if len(found) < 2 and not above:
        return {"train": folder}
    known = {word for words in SPLITS.values() for word in words}
    if "train" not in found or (others := [name for name in above if name.lower() not in known]):
        named = ", ".join(others if "train" in found else above or inside)
        raise ValueError(f"folders above the class folders in {folder} must be named train and test (or valid), not {named}")
    return {part: inside[name] for part, name in found.items()}
