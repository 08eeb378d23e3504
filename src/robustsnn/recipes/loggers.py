"""Experiment trackers, by name, which receive every epoch's metrics in addition to ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
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


def _lightning(kind: str) -> Any:
    """Return a logger class of Lightning. They write on rank 0 only, by environment variables such as SLURM_PROCID, but
    the process that opens one is the first of its run in any case."""
    import_module("lightning_fabric.utilities.rank_zero").rank_zero_only.rank = 0
    return getattr(import_module("lightning_fabric.loggers"), kind)


def _csv(folder: Path, stage: str) -> Any:
    return _lightning("CSVLogger")(folder, name=stage, flush_logs_every_n_steps=1)


def _tensorboard(folder: Path, stage: str) -> Any:
    return _lightning("TensorBoardLogger")(folder, name=stage)


LOGGERS: dict[str, Callable[[Path, str], Any]] = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _Wandb}
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
