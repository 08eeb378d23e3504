"""Times this machine: ``python -m benchmarks.bench``, see docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from pydantic_core import to_json

from benchmarks.bench import ROWS, Case, Timing, bench
from robustsnn.cli.terminal import Terminal
from robustsnn.files import write_atomic


@dataclass(frozen=True)
class Arguments:
    """Speed of this machine, as ratios within one run."""

    networks: tuple[str, ...] = ("resnet20", "vgg11")
    rows: tuple[str, ...] = tuple(ROWS)
    timesteps: int = 8
    batch: int = 64
    """images of the first network; a quarter of it for the others, which are wider"""
    few: int = 16
    """images of the PGD ensemble and of calibration"""
    width: float = 1.0
    """factor on all channels"""
    repeats: int = 3
    device: str = "cpu"
    out: Path | None = None
    """a JSON file for the figures, one object per row, written after every row"""


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    chosen, found, terminal = tyro.cli(Arguments, args=args, prog="python -m benchmarks.bench"), [], Terminal()
    for number, network in enumerate(chosen.networks):
        batch = chosen.batch if number == 0 else max(1, chosen.batch // 4)
        case = Case(network, chosen.width, chosen.timesteps, batch, chosen.few, chosen.device)
        rows = []
        for row in bench(case, chosen.rows, chosen.repeats):
            terminal.say(f"{network}: {row.what}")
            rows.append(row.cells())
            found.append({**asdict(case), **asdict(row)})
            if chosen.out is not None:
                write_atomic(chosen.out, to_json(found, indent=1, inf_nan_mode="null"))
        terminal.table([f"{network}, T = {case.timesteps}, batch {batch}", *Timing.HEAD], rows)
    terminal.say("Medians of repeats in turns. plain: the definition, step by step; floor: convolutions and linears alone.")


if __name__ == "__main__":
    main()
