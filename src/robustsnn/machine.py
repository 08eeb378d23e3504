"""What the command line, and only it, sets up of the machine before it works."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
"""Parameters of glibc's ``mallopt``: no mapping of single blocks, nothing given back, growth by 64 MiB."""


def keep_memory() -> bool:
    """Let glibc keep memory that is freed, instead of giving it back and faulting every page in again.

    Activations are large: by default each one is mapped anew, and touching its pages costs more than the arithmetic on it
    (docs/performance.md). The price is that the process holds its peak until it ends.

    Returns:
        Whether this machine's C library could be told so.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return all(mallopt(parameter, value) for parameter, value in KEEP.items())


def keep_machine_code() -> None:
    """Keep compiled neurons in the user's cache, so that a machine compiles them once, unless told where to."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "robustsnn" / "machine-code"))
