"""Callbacks for messages and progress of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listener:
    """Callbacks of a run: ``say`` receives a line of text, ``progress`` a task's name and completed fraction in ``[0, 1]``."""

    say: Callable[[str], None] = lambda line: None
    progress: Callable[[str, float], None] = lambda what, share: None
