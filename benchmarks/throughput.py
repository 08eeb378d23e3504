"""Images per second in finetuning and evaluation with one process and with more, each with as many threads as it is given.

python -m benchmarks.throughput --processes 1 2 --threads 1
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.bench import Case
from robustsnn.data import Samples
from robustsnn.evaluation import Audit, evaluate
from robustsnn.processes import Team
from robustsnn.recipes.engine import Engine
from robustsnn.seeds import generator
from robustsnn.training import RobustFinetuning, Schedule, train


def work(processes: int, accelerator: str, case: Case, batches: int, out: Path) -> None:
    """What each process does; the first one writes images per second."""
    team = Engine(accelerator=accelerator, devices=processes).launch()  # type: ignore[arg-type]
    rng = generator(0, "throughput")
    count = batches * case.batch
    pixels = torch.randint(256, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
    data = Samples(pixels, torch.randint(10, (count,), generator=rng), classes=10)
    found = {"finetuning": finetuned(team, case, data), "FGSM of quick": attacked(team, case, data)}
    if team.first:
        out.write_text(json.dumps(found))
    team.part()


def finetuned(team: Team, case: Case, data: Samples) -> float:
    """Training images per second, but for those of the first batch."""
    seen: list[float] = []
    train(
        case.ours,
        data,
        data.first(8),
        RobustFinetuning(),
        Schedule(epochs=1, batch=case.batch, lr=1e-3),
        probe=None,
        fabric=team.fabric,
        on_step=lambda epoch, step: seen.append(time.perf_counter()),
    )
    return (len(seen) - 1) * case.batch / (seen[-1] - seen[0])


def attacked(team: Team, case: Case, data: Samples) -> float:
    """Test images per second under one attack along one path, in small radius: all survive."""
    net = case.ours.eval().to(team.fabric.device)
    data = Samples(data.values, torch.cat([net(x.to(team.fabric.device)).argmax(1).cpu() for x, _, _ in data.batches(64)]), 10)
    team.wait()
    began = time.perf_counter()
    evaluate(net, data, "quick", 1e-6, attacks=["FGSM"], batch=case.batch, check=Audit(images=0), fabric=team.fabric)
    return len(data) / (time.perf_counter() - began)


def main() -> None:
    """Each number of processes in a process group of its own, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--timesteps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64, help="of all processes together")
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        case = Case(chosen.network, chosen.width, chosen.timesteps, chosen.batch)
        work(chosen.processes[0], chosen.accelerator, case, chosen.batches, chosen.work)
        return
    given = [f"--{key}={getattr(chosen, key)}" for key in ("accelerator", "network", "width", "timesteps", "batch", "batches")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(chosen.threads)}
    best: dict[int, dict[str, float]] = {}
    for _ in range(chosen.repeats):
        for processes in chosen.processes:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "found.json"
                command = [sys.executable, "-m", "benchmarks.throughput", f"--processes={processes}", *given, f"--work={out}"]
                subprocess.run(command, check=True, env=environment)
                found = json.loads(out.read_text())
            best[processes] = {what: max(rate, best.get(processes, {}).get(what, 0.0)) for what, rate in found.items()}
    one = best[min(best)]
    for processes, rates in best.items():
        line = ", ".join(f"{what} {rate:.1f} images/s ({rate / one[what]:.2f}x)" for what, rate in rates.items())
        print(f"{processes} x {chosen.threads} threads: {line}")


if __name__ == "__main__":
    main()
