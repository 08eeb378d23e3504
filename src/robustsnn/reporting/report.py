"""The report of a run, convertible to and from JSON."""

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

from robustsnn.certification import Certified
from robustsnn.evaluation import Row
from robustsnn.history import Epoch
from robustsnn.names import first_error


class RunReport(BaseModel, frozen=True):
    """The results of a run.

    Arguments:
        recipe: the complete recipe, as a table.
        command: the command that reproduces the run.
        versions: versions of Python and relevant libraries, and the processor type.
        note: what to know about the data, such as that they are simulated; may be empty.
        plan: short description of the run's stages, one line each; may be empty.
        rows: the networks, in pipeline order.
        lower_bounds: certificates by network; these may be other networks than those of the rows.
        curves: training history by stage, one entry per epoch.
    """

    recipe: dict[str, Any]
    command: str
    versions: dict[str, str]
    note: str = ""
    plan: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    lower_bounds: dict[str, tuple[Certified, ...]] = {}
    curves: dict[str, tuple[Epoch, ...]] = {}

    @property
    def networks(self) -> list[str]:
        """The names of all networks: those of the rows, then those that were only certified."""
        return list(dict.fromkeys([*(row.network for row in self.rows), *self.lower_bounds]))

    def to_json(self) -> bytes:
        """Return the report as indented JSON."""
        return self.model_dump_json(indent=1).encode()


def read_report(text: bytes, where: object) -> RunReport:
    """Parse a report from JSON.

    Raises:
        ValueError: the text is not a report; ``where`` names its source in the message.
    """
    try:
        return RunReport.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{where} is not a report of this version ({first_error(error)}): evaluate the run again") from None


def different(one: Mapping[str, Any], other: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the keys in which two recipes differ, named like flags."""
    found: list[str] = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += different(a, b, f"{above}{key}.")
        elif a != b:
            found.append(f"{above}{key}")
    return found


def versions() -> dict[str, str]:
    """Return software versions, processor type and number of threads."""
    return {
        "robustsnn": _installed(),
        "source": source(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }


def _installed() -> str:
    try:
        return importlib.metadata.version("robustsnn")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree, which `source` identifies
        return "not installed"


@cache
def source() -> str:
    """Return a digest of this package's source code."""
    state = hashlib.blake2b(digest_size=8)
    folder = Path(__file__).parents[1]
    for file in sorted(folder.rglob("*.py")):
        state.update(f"{file.relative_to(folder)}".encode() + file.read_bytes())
    return state.hexdigest()
