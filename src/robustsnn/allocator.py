"""How the C library keeps memory, which decides how fast a network trains on a CPU."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26, ARENA_MAX: 1}
"""Parameters of glibc's ``mallopt``: no block mapped alone, nothing given back, growth by 64 MiB, one heap for all."""


def keep_memory() -> bool:
    """Let glibc keep freed memory for the next tensor, which makes training and attacks on a CPU faster (docs/performance.md).

    By default glibc returns the memory of every large activation to the system, and touching fresh pages costs as much as
    computing a neuron. In exchange, the process holds its peak memory until it ends. The command line
    calls this itself; in Python, call it once before any work.

    Returns:
        Whether this machine's C library supports it: glibc on Linux does.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return all(mallopt(parameter, value) for parameter, value in KEEP.items())
