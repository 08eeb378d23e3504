"""Who is told how a run goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listener:
    """Who is told what happens: a line of text, and how much of a named task is done, in ``[0, 1]``."""

    say: Callable[[str], None] = lambda line: None
    progress: Callable[[str, float], None] = lambda what, share: None
