"""Trains and measures the networks of `benchmarks.plan`.

python -m benchmarks.results list
python -m benchmarks.results run main --seeds 0       # one row; what is kept is not made again, but with --kept FOLDER
python -m benchmarks.results run --minutes 120        # every row that is missing, until time is up; again to go on
python -m benchmarks.results page                     # docs/results.md, docs/results-older.md and the table of the README

Networks that several rows start from are kept beside the reports, as in `benchmarks/results/main-0/ann.safetensors`: one that
lies there is not trained. Rows of the older page are made only where they are named, and kept in another folder, since they
would be measured by the protocol of today.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import cast

from benchmarks import older_plan, results_page
from benchmarks.plan import NEW, PLAN, shared
from benchmarks.rows import KEPT, MEASURES, Row
from robustsnn import SpikingNetwork, checkpoint
from robustsnn.cli.terminal import tell
from robustsnn.files import write_atomic
from robustsnn.recipes.stages import made_by, making


@dataclass(frozen=True)
class Work:
    """Where rows are made, where their reports are kept, and until when."""

    out: Path
    until: float = float("inf")
    kept: Path = KEPT

    def make(self, name: str, row: Row, seed: int) -> None:
        """Train and measure one row, and keep its reports."""
        folder, file = f"{name}-{seed}", f"{row.network}.safetensors"
        run, kept = self.out / folder, self.kept / folder
        missing = [measure for measure in row.measures if not (kept / f"{measure}.json").is_file()]
        if not missing:
            return
        if not (run / file).is_file() and not (self.kept / f"{row.source or name}-{seed}" / file).is_file():
            missing = list(row.measures)  # of another machine's network, which is not to the bit the one that is made now
        self.begin(name, row, seed)
        if not row.timesteps:
            self.train(row.network, row, seed, folder)
        for measure in missing:
            (kept / f"{measure}.json").unlink(missing_ok=True)  # of another network
        write_atomic(kept / "made.json", json.dumps(made(row, seed, run), indent=1).encode())
        for measure in missing:
            report = f"{folder}/{row.network}-{measure}"
            self.command("evaluate", f"{folder}/{file}", *MEASURES[measure], "--out", report)
            write_atomic(kept / f"{measure}.json", (self.out / report / "report.json").read_bytes())

    def begin(self, name: str, row: Row, seed: int, until: str = "") -> None:
        """Put the networks that a row shares with others into its folder, or those before ``until``."""
        for network in takewhile(until.__ne__, row.takes if row.source else shared(name)):
            file = self.out / f"{name}-{seed}" / f"{network}.safetensors"
            if file.is_file():
                continue
            start = self.start(row.source or name, seed, network)
            if row.timesteps and network == row.network:
                header = checkpoint.read_header(start)
                net = cast(SpikingNetwork, checkpoint.load(start)).replace(timesteps=row.timesteps)
                checkpoint.save(file, net, header.recipe, header.metrics)
            else:
                write_atomic(file, start.read_bytes())

    def start(self, name: str, seed: int, network: str) -> Path:
        """A network that several rows start from: kept, or made now and kept for the others."""
        folder, file = f"{name}-{seed}", f"{network}.safetensors"
        if not (self.kept / folder / file).is_file():
            self.begin(name, PLAN[name], seed, network)
            self.train(network, PLAN[name], seed, folder)
            write_atomic(self.kept / folder / file, (self.out / folder / file).read_bytes())
        return self.kept / folder / file

    def train(self, network: str, row: Row, seed: int, folder: str) -> None:
        """The stages of a row's run as far as the one that makes that network."""
        recipe = str(Path(row.recipe).resolve()) if row.recipe.endswith(".toml") else row.recipe
        until = made_by(network).name
        self.command("run", recipe, "--until", until, *row.changes, "--seed", str(seed), "--out", folder, "--compare")

    def command(self, *args: str) -> None:
        """A command of robustsnn, given in the folder of the rows; ended, with its state kept, when time is up."""
        tell(f"robustsnn {shlex.join(args)}", sys.stdout)
        self.out.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen([sys.executable, "-m", "robustsnn", *args], cwd=self.out) as process:
            try:
                code = process.wait(timeout=None if self.until == float("inf") else max(0.0, self.until - time.time()))
            except BaseException as why:  # whatever ends this, the command ends with it and keeps its state
                process.terminate()
                process.wait()
                if isinstance(why, subprocess.TimeoutExpired):
                    raise TimeIsUp from None
                raise
        if code:
            raise SystemExit(f"robustsnn {shlex.join(args)} ended with {code}")


def stop(*_: object) -> None:
    """What SIGTERM does to a script that makes rows."""
    raise SystemExit(143)


class TimeIsUp(Exception):
    """No time is left; the same command goes on later."""


def made(row: Row, seed: int, run: Path) -> dict[str, object]:
    """How a row came about: its command, what training took, that of networks it takes from other rows included, and its
    thresholds after conversion."""
    files = {stage.name: run / f"{stage.makes}.safetensors" for stage in making()}
    metrics = {stage: checkpoint.read_header(file).metrics for stage, file in files.items() if file.is_file()}
    took = {stage: found.get("history", ()) for stage, found in metrics.items()}
    return {
        "command": shlex.join(("robustsnn", "run", row.recipe, *row.changes, "--seed", str(seed), "--compare")),
        "clock_seconds": {stage: sum(epoch["seconds"] for epoch in history) for stage, history in took.items() if history},
        "processor_seconds": {
            stage: sum(epoch["processor_seconds"] for epoch in history) for stage, history in took.items() if history
        },
        "cores": os.cpu_count(),
        "calibrated": metrics.get("convert", {}).get("thresholds", {}),
    }


def todo(names: Sequence[str], seeds: Sequence[int] | None) -> list[tuple[str, int]]:
    """Rows with seeds, first seeds first."""
    wanted = [(name, seed) for name in names for seed in PLAN[name].seeds if seeds is None or seed in seeds]
    return sorted(wanted, key=lambda pair: pair[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["list", "run", "page"])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="which rows; none named: all of today's, in order")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--kept", type=Path, default=KEPT, help="where reports are kept; another folder makes rows again")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.rows) - set(PLAN):
        parser.error(f"unknown rows {', '.join(sorted(unknown))}: choose from {', '.join(PLAN)}")
    wanted = todo(chosen.rows or tuple(NEW), chosen.seeds)
    if idle := sorted(set(chosen.rows) - {name for name, _ in wanted}):
        parser.error("; ".join(f"row {name} has seeds {', '.join(map(str, PLAN[name].seeds))}" for name in idle))
    if chosen.action == "list":
        for name, seed in wanted:
            files = [chosen.kept / f"{name}-{seed}" / f"{measure}.json" for measure in PLAN[name].measures]
            kept = f"{sum(map(Path.is_file, files))} of {len(files)} measures"
            tell(f"{name:20} seed {seed}  {kept}  {PLAN[name].what}", sys.stdout)
        return
    if chosen.action == "page":
        if chosen.rows or chosen.seeds or chosen.kept != KEPT:
            parser.error(f"the page is about all that is kept in {KEPT}: give no rows, no seeds and no other folder")
        results_page.write(Path(__file__).parents[1])
        return
    for folder in (chosen.out, chosen.kept):
        if folder.exists() and not folder.is_dir():
            parser.error(f"{folder} is a file: give a folder")
    if chosen.kept == KEPT and (older := sorted(set(chosen.rows) & set(older_plan.PLAN))):
        parser.error(
            f"rows {', '.join(older)} are kept as an older protocol measured them: give another folder, --kept FOLDER"
        )
    if chosen.minutes <= 0:
        parser.error(f"--minutes must be more than 0, not {chosen.minutes:g}")
    work = Work(chosen.out, time.time() + 60 * chosen.minutes, chosen.kept)
    try:
        for name, seed in wanted:
            work.make(name, PLAN[name], seed)
    except TimeIsUp:
        tell("time is up: the same command goes on", sys.stdout)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    main()
