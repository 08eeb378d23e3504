"""Writes docs/what-can-i-bring.md from the tables that the package itself works by.

python -m benchmarks.bring
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.pages import render
from robustsnn.checkpoint import PREFIXES, WRAPPINGS
from robustsnn.compute.rewiring import WRAPPERS
from robustsnn.conversion.operations import KINDS, Kind
from robustsnn.data.decoding import IMAGES, LABELS
from robustsnn.data.splits import SPLITS
from robustsnn.files import write_atomic

PAGE = Path(__file__).parents[1] / "docs/what-can-i-bring.md"


def page() -> str:
    """The page as Markdown."""
    rows = "\n".join(f"| {kind.name} | {_modules(kind)} | {_calls(kind)} | {kind.becomes} |" for kind in KINDS)
    return render(
        "bring.md.jinja",
        rows=rows,
        wrappers=_code(kind.__name__ for kind in WRAPPERS),
        wrappings=_code(WRAPPINGS),
        prefixes=_code(PREFIXES),
        images=_code(IMAGES),
        labels=_code(LABELS),
        **{part: _code(called) for part, called in SPLITS.items()},
    )


def _modules(kind: Kind) -> str:
    return _code(sorted(module.__name__ for module in kind.modules))


def _calls(kind: Kind) -> str:
    return _code(sorted({_spelled(call) for call in kind.calls}))


def _spelled(call: Any) -> str:
    """A function or method as people write it."""
    if isinstance(call, str):
        return f"x.{call}"
    name = call.__name__
    signs = {
        "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "matmul": "@", "neg": "-x",
        "iadd": "+=", "isub": "-=", "imul": "*=", "itruediv": "/=", "getitem": "x[...]", "getattr": "x.shape", "len": "len",
    }  # fmt: skip
    if call.__module__ in ("_operator", "builtins") and name in signs and not hasattr(call, "overloads"):
        return signs[name]
    return f"F.{name}" if getattr(F, name, None) is call or name not in vars(torch) else f"torch.{name}"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    write_atomic(PAGE, page().encode())
