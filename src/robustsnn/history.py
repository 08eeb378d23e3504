"""What every epoch of a training gave, and which of them training keeps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss, and accuracies in ``[0, 1]`` on the validation images and how many these are (0: not
    known); what it took in seconds of the clock and of the processor, all threads of the first process together."""

    epoch: int
    loss: float
    clean: float
    robust: float
    lr: float
    seconds: float
    processor_seconds: float = 0.0
    images: int = 0


def read_history(values: Any, where: object) -> tuple[Epoch, ...]:
    """Epochs as a file holds them.

    Raises:
        ValueError: something else; ``where`` names its place in the line.
    """
    try:
        return tuple(Epoch(**value) for value in values)
    except TypeError as error:
        raise ValueError(f"{where} holds no history of a training of this version ({error}): train again") from None


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch whose weights training keeps: the last one whose robust accuracy is within a standard error of the highest.

    Few validation images cannot tell epochs apart that differ by less, and the last of these had the smallest learning rate.
    Without an error to go by, it is the first of the most robust, then most accurate.
    """
    top = max(history, key=lambda e: (e.robust, e.clean))
    error = math.sqrt(top.robust * (1 - top.robust) / top.images) if top.images else 0.0
    return [e for e in history if e.robust >= top.robust - error][-1] if error else top
