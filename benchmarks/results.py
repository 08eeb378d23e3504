"""Trains and measures the networks that the page of results is about, in the order of what they teach.

python -m benchmarks.results list
python -m benchmarks.results run robust --seeds 0     # one row; what is done already is not done again
python -m benchmarks.results run --minutes 120        # every row that is missing, until time is up; again to go on
python -m benchmarks.results page                     # docs/results.md and the table of the README
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
from pathlib import Path

from robustsnn import checkpoint
from robustsnn.files import write_atomic

KEPT = Path(__file__).parent / "results"
"""Reports of the rows, by row, seed and measure, and the ANNs that several rows start from."""

MEASURES: dict[str, tuple[str, ...]] = {
    "paper": ("--limit", "1000", "--audit-images", "0", "--shown", "0"),
    "rigorous": ("--protocol", "rigorous", "--eps", "8/255", "--limit", "500", "--shown", "0"),
    "rigorous_near": ("--protocol", "rigorous", "--eps", "2/255", "--limit", "500", "--audit-images", "0", "--shown", "0"),
    "whole": ("--audit-images", "0", "--shown", "0"),
    "whole_rigorous": ("--protocol", "rigorous", "--eps", "8/255", "--shown", "0"),
    "pgd": ("--attacks", "PGD-20", "--eps", "8/255", "--limit", "500", "--audit-images", "0", "--shown", "0"),
}
"""Flags of `robustsnn evaluate` on top of the recipe's own evaluation, which is `paper` with FGSM and PGD-20."""

BOTH = ("paper", "rigorous")
ALL = (*BOTH, "rigorous_near")


@dataclass(frozen=True)
class Row:
    """One network.

    Arguments:
        what: the name in tables.
        recipe, changes: what makes it: a recipe and flags of `robustsnn run`.
        network: which checkpoint of the run it is.
        ann: the row whose ANN it starts from; empty: its own.
        measures: how it is measured.
        seeds: how often it is made.
        predicted: of an experiment, what was expected before it was run.
    """

    what: str
    recipe: str = "cifar10-small"
    changes: tuple[str, ...] = ()
    network: str = "snn"
    ann: str = ""
    measures: tuple[str, ...] = ("pgd",)
    seeds: tuple[int, ...] = (0,)
    predicted: str = ""


def _main(what: str, recipe: str = "cifar10-small", network: str = "snn", ann: str = "") -> Row:
    return Row(what, recipe, network=network, ann=ann, measures=ALL, seeds=(0, 1))


def _far(what: str, recipe: str, *stages: str) -> Row:
    """A row of the claim whose stages train at the headline radius instead of the published one."""
    objectives = {"pretrain": "Trades(beta=6, eps=8/255, steps=5)", "finetune": "RobustFinetuning(eps=8/255, alpha=4/255)"}
    changes = [
        flag
        for stage in stages
        for flag in (f"--{stage}.objective", objectives[stage], f"--{stage}.probe", "PGD(eps=8/255, steps=10)")
    ]
    return Row(what, recipe, tuple(changes), measures=BOTH, seeds=(0, 1))


def _finetuned(what: str, *changes: str, predicted: str = "") -> Row:
    return Row(what, changes=changes, ann="robust", predicted=predicted)


def _by(objective: str) -> tuple[str, str]:
    return "--finetune.objective", objective


MAIN: dict[str, Row] = {
    "robust": _main("robust ANN (TRADES), converted, robust finetuning"),
    "natural_converted": _main(
        "natural ANN, converted", "cifar10-small:natural_finetuned", network="converted", ann="natural_finetuned"
    ),
    "end_to_end": _main("robust SNN from random weights, equal time", "cifar10-small:end_to_end"),
    "natural_finetuned": _main("natural ANN, converted, robust finetuning", "cifar10-small:natural_finetuned"),
    "snn_rat": _main("SNN-RAT from random weights, equal time", "cifar10-small:snn_rat"),
    "robust_far": _far("robust ANN, converted, robust finetuning, all at 8/255", "cifar10-small", "pretrain", "finetune"),
    "end_to_end_far": _far("robust SNN from random weights at 8/255, equal time", "cifar10-small:end_to_end", "finetune"),
}

ABLATIONS: dict[str, Row] = {
    "robust_converted": Row("robust ANN, converted, no finetuning", network="converted", ann="robust"),
    "thresholds_frozen": _finetuned("thresholds frozen", "--finetune.no-train-thresholds"),
    "scale_0.1": _finetuned("threshold scale 0.1", "--conversion.scale", "0.1"),
    "scale_0.6": _finetuned("threshold scale 0.6", "--conversion.scale", "0.6"),
    "scale_1": _finetuned("threshold scale 1", "--conversion.scale", "1"),
    "batch_norm_reset": _finetuned("batch norm reset, as published", "--conversion.batch-norm", "reset"),
    "T_1": _finetuned("T = 1", "--timesteps", "1"),
    "T_2": _finetuned("T = 2", "--timesteps", "2"),
    "T_8": _finetuned("T = 8", "--timesteps", "8"),
    "T_16": _finetuned("T = 16", "--timesteps", "16"),
    "channels": _finetuned("thresholds per channel", "--conversion.granularity", "channel"),
    "sparse": _finetuned("90 % of the weights removed", "--prune.sparsity", "0.9", "--prune.epochs", "5"),
    "awp": _finetuned("AWP", *_by("WeightPerturbed(RobustFinetuning(), gamma=0.005)")),
    "sr": _finetuned("SR, weight 0.001", *_by("Regularized(RobustFinetuning(), SparseGradients(), 0.001)")),
    "tgo": _finetuned("TGO, weight 0.1", *_by("Regularized(RobustFinetuning(), MembraneMargin(), 0.1)")),
    "mpd_sgr": _finetuned("MPD-SGR, weight 0.1", *_by("Regularized(RobustFinetuning(), PotentialOverlap(), 0.1)")),
    "at": Row("pre-trained by AT", changes=("--pretrain.objective", "Adversarial(eps=2/255, steps=5)")),
    "mart": Row("pre-trained by MART", changes=("--pretrain.objective", "Mart(beta=4, eps=2/255, steps=5)")),
}

FASTER = ("--finetune.lr", "0.03")

EXPERIMENTS: dict[str, Row] = {
    "faster": _finetuned(
        "learning rate 0.03",
        *FASTER,
        predicted="thresholds and weights move too little in 8 epochs at 0.01: both accuracies rise by 1 to 3 points",
    ),
    "wider": _finetuned(
        "finetuned at 4/255",
        *_by("RobustFinetuning(eps=4/255, alpha=2/255)"),
        predicted="nearer to the radius that is measured: 3 to 5 points more at 8/255, 2 to 4 points less clean",
    ),
    "wider_faster": _finetuned(
        "finetuned at 4/255, learning rate 0.03",
        *_by("RobustFinetuning(eps=4/255, alpha=2/255)"),
        *FASTER,
        predicted="the faster schedule pays back the clean accuracy that the larger radius costs: 3 to 6 points more at 8/255",
    ),
    "widest": _finetuned(
        "finetuned at 8/255, learning rate 0.03",
        *_by("RobustFinetuning(eps=8/255, alpha=4/255)"),
        *FASTER,
        predicted="4/255 cost no clean accuracy, so there is room: 3 points more at 8/255, 1 to 2 less clean",
    ),
    "between": _finetuned(
        "finetuned at 6/255, learning rate 0.03",
        *_by("RobustFinetuning(eps=6/255, alpha=3/255)"),
        *FASTER,
        predicted="8/255 gained 5 points and cost 2 clean, 4/255 gained 1 at no cost: 3 points more, clean within 1",
    ),
    "widest_milder": _finetuned(
        "finetuned at 8/255 with beta 1, learning rate 0.03",
        *_by("RobustFinetuning(eps=8/255, alpha=4/255, beta=1)"),
        *FASTER,
        predicted="half of the pull gives back a point of clean accuracy: 3 to 4 points more at 8/255, clean within 1",
    ),
    "widest_longer": _finetuned(
        "finetuned at 8/255, learning rate 0.03, 16 epochs",
        *_by("RobustFinetuning(eps=8/255, alpha=4/255)"),
        *FASTER,
        *("--finetune.epochs", "16"),
        predicted="twice the epochs pay back what the radius costs: 3 to 5 points more at 8/255, clean the same",
    ),
    "longer": _finetuned(
        "finetuned at 4/255, learning rate 0.03, 24 epochs",
        *_by("RobustFinetuning(eps=4/255, alpha=2/255)"),
        *FASTER,
        *("--finetune.epochs", "24"),
        predicted="after 8 epochs the loss still falls: three times as many bring back the clean accuracy of the reference, "
        "with 3 to 5 points more at 8/255",
    ),
    "milder": _finetuned(
        "finetuned at 4/255 with beta 1, learning rate 0.03",
        *_by("RobustFinetuning(eps=4/255, alpha=2/255, beta=1)"),
        *FASTER,
        predicted="half of the pull at twice the radius: clean accuracy of the reference, 1 to 3 points more at 8/255",
    ),
    "sharper": _finetuned(
        "beta 6, learning rate 0.03",
        *_by("RobustFinetuning(eps=2/255, alpha=1/255, beta=6)"),
        *FASTER,
        predicted="beta as in pre-training: 1 to 3 points more at 8/255, 1 to 2 less clean than learning rate 0.03 alone",
    ),
    "iterated": _finetuned(
        "two gradient steps at 4/255 instead of one, learning rate 0.03",
        *_by("Trades(beta=2, eps=4/255, steps=2)"),
        *FASTER,
        predicted="one step overfits its own surrogate: 1 to 2 points more than the same radius with one step",
    ),
    "flatter": _finetuned(
        "AWP at 4/255, learning rate 0.03",
        *_by("WeightPerturbed(RobustFinetuning(eps=4/255, alpha=2/255), gamma=0.005)"),
        *FASTER,
        predicted="10,080 images overfit: 1 to 2 points more than the same without, clean the same",
    ),
}

PLAN = {**MAIN, **EXPERIMENTS, **ABLATIONS}


def sources() -> set[str]:
    """Rows whose ANN other rows start from."""
    return {row.ann for row in PLAN.values()} - {""}


@dataclass(frozen=True)
class Work:
    """Where rows are made, where their reports are kept, and until when."""

    out: Path
    until: float = float("inf")
    kept: Path = KEPT

    def make(self, name: str, row: Row, seed: int) -> None:
        """Train and measure one row, and keep its reports."""
        folder = f"{name}-{seed}"
        run, kept = self.out / folder, self.kept / folder
        missing = [measure for measure in row.measures if not (kept / f"{measure}.json").is_file()]
        if not missing:
            return
        if not (run / f"{row.network}.safetensors").is_file():
            missing = list(row.measures)  # of another machine's network, which is not to the bit the one that is made now
        if not (run / "ann.safetensors").is_file() and (source := row.ann or (name if name in sources() else "")):
            ann = self.ann(source, seed)
            run.mkdir(parents=True, exist_ok=True)
            write_atomic(run / "ann.safetensors", ann)
        for stage in ("pretrain", "convert", "finetune")[: 2 if row.network == "converted" else 3]:
            self.stage(stage, row, seed, folder)
        for measure in missing:
            report = f"{folder}/{row.network}-{measure}"
            self.command("evaluate", f"{folder}/{row.network}.safetensors", *MEASURES[measure], "--out", report)
            write_atomic(kept / f"{measure}.json", (self.out / report / "report.json").read_bytes())
        write_atomic(kept / "made.json", json.dumps(made(row, seed, run), indent=1).encode())

    def ann(self, name: str, seed: int) -> bytes:
        """The checkpoint of an ANN that several rows start from: kept, or trained now and kept for the others."""
        kept = self.kept / f"{name}-{seed}" / "ann.safetensors"
        if not kept.is_file():
            self.stage("pretrain", PLAN[name], seed, f"{name}-{seed}")
            write_atomic(kept, (self.out / f"{name}-{seed}" / "ann.safetensors").read_bytes())
        return kept.read_bytes()

    def stage(self, stage: str, row: Row, seed: int, folder: str) -> None:
        """One stage of a row's run."""
        recipe = str(Path(row.recipe).resolve()) if row.recipe.endswith(".toml") else row.recipe
        self.command(stage, recipe, *row.changes, "--seed", str(seed), "--out", folder, "--compare")

    def command(self, *args: str) -> None:
        """A command of robustsnn, given in the folder of the rows; ended, with its state kept, when time is up."""
        print("robustsnn", shlex.join(args), flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen([sys.executable, "-m", "robustsnn.cli", *args], cwd=self.out) as process:
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
    """How a row came about: its command, what its own training took, its thresholds after conversion."""
    stages = {**({} if row.ann else {"pretrain": "ann"}), "prune": "pruned", "finetune": "snn"}
    headers = {
        name: checkpoint.read_header(run / f"{name}.safetensors")
        for name in (*stages.values(), "converted")
        if (run / f"{name}.safetensors").is_file()
    }
    histories = {stage: headers[name].metrics.get("history", ()) for stage, name in stages.items() if name in headers}
    return {
        "command": shlex.join(("robustsnn", "run", row.recipe, *row.changes, "--seed", str(seed), "--compare")),
        "clock_seconds": {stage: sum(epoch["seconds"] for epoch in history) for stage, history in histories.items()},
        "processor_seconds": {
            stage: sum(epoch["processor_seconds"] for epoch in history) for stage, history in histories.items()
        },
        "cores": os.cpu_count(),
        "calibrated": headers["converted"].metrics.get("thresholds", {}),
    }


def todo(names: Sequence[str], seeds: Sequence[int] | None) -> list[tuple[str, int]]:
    """Rows with seeds, first seeds first."""
    wanted = [(name, seed) for name in names for seed in PLAN[name].seeds if seeds is None or seed in seeds]
    return sorted(wanted, key=lambda pair: pair[1])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["list", "run", "page"])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="which rows; none named: all, in order")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    chosen = parser.parse_args()
    if unknown := set(chosen.rows) - set(PLAN):
        parser.error(f"unknown rows {', '.join(sorted(unknown))}: choose from {', '.join(PLAN)}")
    wanted = todo(chosen.rows or tuple(PLAN), chosen.seeds)
    if chosen.action == "list":
        for name, seed in wanted:
            done = all((KEPT / f"{name}-{seed}" / f"{measure}.json").is_file() for measure in PLAN[name].measures)
            print(f"{name:20} seed {seed}  {'done' if done else '-':5} {PLAN[name].what}")
        return
    if chosen.action == "page":
        from benchmarks.results_page import write

        write(Path(__file__).parents[1])
        return
    work = Work(chosen.out, time.time() + 60 * chosen.minutes)
    try:
        for name, seed in wanted:
            work.make(name, PLAN[name], seed)
    except TimeIsUp:
        print("time is up: the same command goes on", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    main()
