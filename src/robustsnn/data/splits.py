"""Which files of a folder are for training and which for testing, told by their exact names."""

import re
from collections.abc import Iterable
from pathlib import Path

SPLITS = {"train": ("train", "training"), "test": ("test", "testing", "valid", "validation", "val")}
"""What the splits of a data set, its files and folders, may be called, in any case; the first that is there counts."""


def chosen(names: Iterable[str]) -> dict[str, str]:
    """The name, among those that are there, of each split that is there."""
    small = {name.lower(): name for name in names}
    found = {part: next((small[word] for word in words if word in small), "") for part, words in SPLITS.items()}
    return {part: name for part, name in found.items() if name}


def of_files(folder: Path) -> dict[str, list[Path]]:
    """The parquet files of a folder by split, such as ``train.parquet`` or ``test-00000-of-00001.parquet``; all are for
    training where none says more.

    Raises:
        ValueError: names that say something of a split, but not as `SPLITS` has it.
    """
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    heads: dict[str, list[Path]] = {}
    for file in files:
        heads.setdefault(re.split(r"[-_.\d]", file.name)[0], []).append(file)
    found = {part: heads[name] for part, name in chosen(heads).items()}
    if not found and any(re.search("test|train|valid", file.name, re.IGNORECASE) for file in files):
        raise ValueError(f"files of {folder} are no splits: call them train*.parquet and test*.parquet, not {files[0].name}")
    return found or ({"train": files} if files else {})


def of_folders(folder: Path) -> dict[str, Path]:
    """The folders of images by split; the folder itself, for training, where only folders of classes are in it.

    Raises:
        ValueError: folders above the classes that are no splits, or none for training among them.
    """
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    above = [name for name, path in inside.items() if any(child.is_dir() for child in path.iterdir())]
    found = chosen(inside)
    if len(found) < 2 and not above:
        return {"train": folder}
    known = {word for words in SPLITS.values() for word in words}
    if "train" not in found or (others := [name for name in above if name.lower() not in known]):
        named = ", ".join(others if "train" in found else above or inside)
        raise ValueError(f"folders above the classes in {folder} must be called train and test (or valid), not {named}")
    return {part: inside[name] for part, name in found.items()}
