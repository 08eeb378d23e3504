"""Results of every training epoch, and the selection of the epoch that training keeps."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch: mean loss, accuracies in ``[0, 1]`` on ``images`` validation images (0: unknown), and wall-clock
    and processor seconds, over all threads of the first process."""

    epoch: int
    loss: float
    clean: float
    robust: float
    lr: float
    seconds: float
    processor_seconds: float = 0.0
    images: int = 0

    @property
    def metrics(self) -> dict[str, float]:
        """All but the epoch's number, as loggers take them."""
        return {name: value for name, value in asdict(self).items() if name != "epoch"}


def read_history(values: Any, where: object) -> tuple[Epoch, ...]:
    """Parse epochs from a file's values. Raises ValueError, with the place ``where``, if they are not epochs."""
    try:
        return tuple(Epoch(**value) for value in values)
    except TypeError as error:
        raise ValueError(f"{where} does not contain a training history of this version ({error}): train again") from None


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """Return the epoch whose weights training keeps: the last one within a standard error of the best robust accuracy.

    With few validation images, smaller differences are not significant, and the last of these epochs had the lowest learning
    rate. Without an error estimate, it is the first with the highest robust, then clean accuracy.
    """
    top = max(history, key=lambda e: (e.robust, e.clean))
    error = math.sqrt(top.robust * (1 - top.robust) / top.images) if top.images else 0.0
    return [e for e in history if e.robust >= top.robust - error][-1] if error else top
