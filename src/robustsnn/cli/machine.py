"""Process-wide settings that only the command line makes: memory, caches, determinism, logging."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def plain() -> None:
    """Disable colours and all escape codes if ``NO_COLOR`` is set (https://no-color.org)."""
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # one of the printing libraries supports only this


def deterministic() -> None:
    """Make torch use only deterministic algorithms."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def together() -> bool:
    """Return whether this process is one of several connected ones."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.distributed.is_initialized())


def code_folder(cache: Path) -> Path:
    """Return the folder of compiled neurons: ``TORCHINDUCTOR_CACHE_DIR``, if the user set it, or a folder in ``cache``."""
    told = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    if told.startswith(os.path.join(tempfile.gettempdir(), "torchinductor_")):  # torch's default, which its import sets
        told = ""
    return Path(told) if told else cache / "machine-code"


def keep_machine_code(say: Callable[[str], None] = lambda line: None) -> None:
    """Keep compiled neurons in the user's cache, unless ``TORCHINDUCTOR_CACHE_DIR`` is set, so they are compiled only once.

    Arguments:
        say: receives a message when this machine compiles for the first time.
    """
    from robustsnn.files import usable_cache

    folder = code_folder(usable_cache())
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    if folder.exists():
        return
    line = f"Compiling neurons, once per machine and kind, a few seconds each; cached in {folder}"
    listen("robustsnn.compute.machine_code", _Once(lambda: say(line))).setLevel(logging.INFO)


def listen(name: str, handler: logging.Handler) -> logging.Logger:
    """Add a handler to a logger, replacing one of the same type from an earlier command in this process."""
    logger = logging.getLogger(name)
    for earlier in [each for each in logger.handlers if type(each) is type(handler)]:
        logger.removeHandler(earlier)
    logger.addHandler(handler)
    return logger


def import_from_here() -> None:
    """Allow imports from the current folder."""
    if "" not in sys.path:
        sys.path.append("")


class _Once(logging.Handler):
    """Handles only the first message."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).removeHandler(self)
        self.tell()


def status(what: str, file: str = "/proc/self/status") -> float:
    """Return an entry of a Linux status file in bytes; NaN if there is none."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return float("nan")
    return next((1024 * float(line.split()[1]) for line in lines if line.startswith(what)), float("nan"))
