"""Experiment trackers, by name, which receive every epoch's metrics in addition to ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustsnn.names import find

if TYPE_CHECKING:
    from robustsnn.types import Logger

NONE = "none"


class _Wandb:
    """Weights & Biases, a run per stage; its own settings (project, entity, mode) come from its environment variables."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.run: Any = import_module("wandb").init(name=f"{folder.parent.name} {stage}", dir=str(folder), reinit=True)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send the metrics of one epoch."""
        self.run.log(metrics, step=step)


def _csv(folder: Path, stage: str) -> Any:
    return import_module("lightning_fabric.loggers").CSVLogger(folder, name=stage, flush_logs_every_n_steps=1)


def _tensorboard(folder: Path, stage: str) -> Any:
    return import_module("lightning_fabric.loggers").TensorBoardLogger(folder, name=stage)


LOGGERS: dict[str, Callable[[Path, str], Any]] = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _Wandb}


def logger(name: str, folder: Path, stage: str) -> Logger | None:
    """Open the tracker of a stage; its files go into ``folder``.

    Raises:
        ValueError: the name is unknown, or the tracker's package is not installed.
    """
    if name == NONE:
        return None
    opened = find("logger", LOGGERS, name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made: Logger = opened(folder, stage)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"logger {name!r} needs a package that is not installed ({error.name or error}): pip install {name}"
        ) from None
    return made
