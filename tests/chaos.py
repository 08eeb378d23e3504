"""Kill a run at random moments, start it again each time, and compare its end with that of a run no one killed.

    python tests/chaos.py --kills 50

Prints a line per kill and fails with the first difference. Runs that end before all kills are used up are begun anew.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

RECIPE = """
name = "chaos"
timesteps = 2
pretrain = {objective = "Trades(eps=0.1, steps=2)", epochs = 40, lr = 0.05, probe = "FGSM()"}
conversion = {timesteps = 100, batches = 10}
finetune = {objective = "RobustFinetuning(eps=0.1, alpha=0.05)", epochs = 16, lr = 0.01, probe = "FGSM()"}
evaluation = {protocol = "quick", eps = [0.1], limit = 400, audit_images = 0}
"""
NETWORKS = ("ann.safetensors", "converted.safetensors", "snn.safetensors")
STAGES = {
    "ann.safetensors": "pretrain",
    "converted.safetensors": "convert",
    "snn.safetensors": "finetune",
    "report.md": "evaluate",
}
CODE = "import sys; from robustsnn.cli import main; sys.exit(main())"


def start(folder: Path) -> subprocess.Popen[str]:
    """The run's process."""
    (folder / "chaos.toml").write_text(RECIPE)
    command = [sys.executable, "-c", CODE, "run", "chaos.toml", "--out", "run"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stage(folder: Path) -> str:
    """What a run was at when it died."""
    return next((name for file, name in STAGES.items() if not (folder / "run" / file).exists()), "done")


def outcome(folder: Path) -> tuple[dict[str, bytes], list[object], list[str]]:
    """What a run leaves: tensors to the bit, what was measured, and which files there are."""
    from robustsnn.files import digest, read_tensors
    from robustsnn.reporting import read_report

    run = folder / "run"
    networks = {name: digest(read_tensors(run / name)[0]).encode() for name in NETWORKS}
    rows = read_report((run / "report.json").read_bytes(), run).rows
    measured: list[object] = [
        row.model_copy(update={"report": row.report.model_copy(update={"seconds": 0.0})}) for row in rows
    ]
    return networks, measured, sorted(path.name for path in run.iterdir())


def chaos(kills: int, seed: int, say=print) -> Counter[str]:
    """Do it; how many kills hit each stage."""
    rng, hit = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        began = time.monotonic()
        said, _ = (process := start(whole)).communicate()
        assert process.returncode == 0, said
        duration, expected = time.monotonic() - began, outcome(whole)
        number = 0
        while hit.total() < kills:
            folder = Path(scratch) / str(number := number + 1)
            folder.mkdir()
            while True:
                process = start(folder)
                try:
                    said, _ = process.communicate(timeout=rng.uniform(0, duration) if hit.total() < kills else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    hit[stage(folder)] += 1
                    say(f"kill {hit.total()}: run {number}, in {stage(folder)}")
                    continue
                assert process.returncode == 0, said
                break
            assert outcome(folder) == expected, f"run {number} ended otherwise"
        say(f"{hit.total()} kills in {number} runs, {dict(hit)}: every run ended as the one that nobody killed")
    return hit


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chaos(chosen.kills, chosen.seed, partial(print, flush=True))
