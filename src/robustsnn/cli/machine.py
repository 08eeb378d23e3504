"""What the command line, and only it, sets up of the machine before it works."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def plain() -> None:
    """No colours, and no escape codes at all, where ``NO_COLOR`` asks for it (https://no-color.org)."""
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # of two libraries that print, one knows only this


def deterministic() -> None:
    """Let torch use no algorithm whose bits differ from one time to the next."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def together() -> bool:
    """Whether this is one of several processes that are connected."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.distributed.is_initialized())


def keep_machine_code(say: Callable[[str], None] = lambda line: None) -> None:
    """Keep compiled neurons in the user's cache, so that a machine compiles them once, unless told where to.

    Arguments:
        say: told where the first thing is compiled that this machine keeps.
    """
    from robustsnn.files import usable_cache

    told = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    if not told or told.startswith(os.path.join(tempfile.gettempdir(), "torchinductor_")):  # what torch sets when imported
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = told = str(usable_cache() / "machine-code")
    if Path(told).exists():
        return
    line = f"Neurons are compiled once per machine and kind, which takes seconds each, and kept in {told}"
    listen("robustsnn.compute.machine_code", _Once(lambda: say(line))).setLevel(logging.INFO)


def listen(name: str, handler: logging.Handler) -> logging.Logger:
    """Give a logger a handler, in place of one of its kind that is from a command given before in this process."""
    logger = logging.getLogger(name)
    for earlier in [each for each in logger.handlers if type(each) is type(handler)]:
        logger.removeHandler(earlier)
    logger.addHandler(handler)
    return logger


def import_from_here() -> None:
    """Let modules that lie in the folder where the command is given be found."""
    if "" not in sys.path:
        sys.path.append("")


class _Once(logging.Handler):
    """Tells of the first message only."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).removeHandler(self)
        self.tell()


def status(what: str, file: str = "/proc/self/status") -> float:
    """Bytes that the system tells under a name; NaN where it does not tell."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return float("nan")
    return next((1024 * float(line.split()[1]) for line in lines if line.startswith(what)), float("nan"))
