"""Experiment trackers, by name, which receive every epoch's metrics in addition to ``metrics.jsonl``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

from robustsnn.names import find, one_line

NONE = "none"


class _Wandb:
    """Weights & Biases, a run per stage; its own settings (project, entity, mode) come from its environment variables."""

    def __init__(self, folder: Path, stage: str) -> None:
        name = f"{folder.resolve().parent.name} {stage}"
        self.run: Any = import_module("wandb").init(name=name, dir=str(folder), reinit=True)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send the metrics of one epoch."""
        self.run.log(metrics, step=step)

    def finalize(self, status: str) -> None:
        """End the run."""
        self.run.finish(int(status != "success"))


class _Csv:
    """A table of all epochs, written anew after each."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.file = _version(folder / stage) / "metrics.csv"
        self.rows: list[dict[str, float | None]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add the metrics of one epoch."""
        from robustsnn.files import write_atomic  # imports torch, which most commands do not need

        self.rows.append({"step": step, **metrics})
        table = StringIO()
        writer = csv.DictWriter(table, list(dict.fromkeys(name for row in self.rows for name in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.file, table.getvalue().encode())

    def finalize(self, status: str) -> None:
        """Everything is written."""


class _TensorBoard:
    """TensorBoard's files of events."""

    def __init__(self, folder: Path, stage: str) -> None:
        package = import_module("torch.utils.tensorboard" if _there("tensorboard") else "tensorboardX")
        self.writer: Any = package.SummaryWriter(str(_version(folder / stage)))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write the metrics of one epoch."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def finalize(self, status: str) -> None:
        """Close the file."""
        self.writer.close()


def _version(folder: Path) -> Path:
    """Return the first of ``version_0``, ``version_1``, ... that does not exist: a resumed stage begins a new one."""
    return next(place for number in count() if not (place := folder / f"version_{number}").exists())


LOGGERS: dict[str, Callable[[Path, str], Any]] = {"csv": _Csv, "tensorboard": _TensorBoard, "wandb": _Wandb}
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}
"""Packages of which a tracker needs one."""


def check(name: str) -> None:
    """Raise ValueError if a tracker's name is unknown, or its package is not installed."""
    find("logger", {NONE: NONE, **LOGGERS}, str(name))
    needed = PACKAGES.get(name, ())
    if needed and not any(map(_there, needed)):
        raise ValueError(f"logger {name!r} needs a package that is not installed: pip install {name}")


def _there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # imported without a specification
        return True


@contextmanager
def logger(name: str, folder: Path, stage: str) -> Iterator[Any]:
    """Open the tracker of a stage, and close it at the end; its files go into ``folder``. None if the name is `NONE`.

    Raises:
        ValueError: `check` fails, or the tracker does not start.
    """
    check(name)
    if name == NONE:
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        opened = LOGGERS[name](folder, stage)
    except Exception as error:  # a tracker may raise anything, such as that nobody is logged in
        raise ValueError(f"logger {name!r} cannot start: {one_line(error)}; correct its settings, or use another") from None
    status = "failed"
    try:
        yield opened
        status = "success"
    finally:
        opened.finalize(status)
