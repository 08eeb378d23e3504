"""The report of a run: a value that becomes JSON and comes back."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from robustsnn.evaluation import Row
from robustsnn.history import Epoch
from robustsnn.names import first_error


class RunReport(BaseModel, frozen=True):
    """What a run gave.

    Arguments:
        recipe: the whole recipe, as a table.
        command: what makes the same run again.
        versions: of Python and the libraries that matter, and the kind of processor.
        plan: what was run, in a few lines of words; empty where nobody wrote them.
        rows: the networks, in the order of the pipeline.
        curves: training figures by stage, one per epoch.
    """

    recipe: dict[str, Any]
    command: str
    versions: dict[str, str]
    plan: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    curves: dict[str, tuple[Epoch, ...]] = {}

    def to_json(self) -> bytes:
        """The report as indented JSON."""
        return self.model_dump_json(indent=1).encode()


def read_report(text: bytes, where: object) -> RunReport:
    """A report from its JSON.

    Raises:
        ValueError: text that is no report; ``where`` names its place in the line.
    """
    try:
        return RunReport.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{where} is no report of this version ({first_error(error)}): evaluate the run again") from None


def different(one: Mapping[str, Any], other: Mapping[str, Any], above: str = "") -> list[str]:
    """The keys in which two recipes differ, as flags name them."""
    found: list[str] = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += different(a, b, f"{above}{key}.")
        elif a != b:
            found.append(f"{above}{key}")
    return found


def versions() -> dict[str, str]:
    """What the figures were made with."""
    return {
        "robustsnn": importlib.metadata.version("robustsnn"),
        "source": source(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }


@cache
def source() -> str:
    """A short text that changes with any line of this package's source."""
    state = hashlib.blake2b(digest_size=8)
    folder = Path(__file__).parents[1]
    for file in sorted(folder.rglob("*.py")):
        state.update(f"{file.relative_to(folder)}".encode() + file.read_bytes())
    return state.hexdigest()
