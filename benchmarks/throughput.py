"""Images per second in finetuning and evaluation with one process and with more, each with as many threads as it is given.

python -m benchmarks.throughput --processes 1 2 --threads 1
python -m benchmarks.throughput --processes 1 2 --threads 1 --survivors 450
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
from robustsnn import load
from robustsnn.attacks import PGD
from robustsnn.data import Samples, digits
from robustsnn.evaluation import PUBLISHED_PATHS, Audit, Group, Protocol, evaluate
from robustsnn.processes import Team
from robustsnn.recipes.engine import Engine
from robustsnn.seeds import generator
from robustsnn.training import RobustFinetuning, Schedule, train

KEYS = ("accelerator", "network", "width", "timesteps", "batch", "batches", "survivors", "eps")
"""Arguments that every process is given."""


def work(processes: int, accelerator: str, case: Case, batches: int, survivors: int, eps: float, out: Path) -> None:
    """Run in each process; the first one writes the results."""
    team = Engine(accelerator=accelerator, devices=processes).launch()  # type: ignore[arg-type]
    if survivors:
        told = surviving(team, survivors, eps)
        if team.first:
            out.write_text(json.dumps(told))
        team.part()
        return
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


def surviving(team: Team, count: int, eps: float) -> dict[str, object]:
    """Seconds of PGD-50 along the published paths on digits, as the data set has them and with the survivors at even places.

    At even places, equal shares would leave all survivors to one of two processes. Processor seconds are of each process.
    """
    net, data = load("zoo:digits-robust").to(team.device), digits().test.first(count)
    check = Audit(images=0)
    chosen = Protocol({"PGD-50": (Group("PGD-50", PGD(steps=50), PUBLISHED_PATHS),)}, "any")
    flags = torch.tensor(evaluate(net, data, chosen, eps, check=check).results[0].broken_by)
    robust, others = (flags == -1).nonzero().flatten().tolist(), (flags != -1).nonzero().flatten().tolist()
    places: list[int] = []
    while robust or others:
        places += [(robust or others).pop(0), (others or robust).pop(0)]
    found: dict[str, object] = {}
    for what, order in (("as they come", list(range(count))), ("survivors in one share", places)):
        team.wait()
        began, used = time.perf_counter(), time.process_time()
        report = evaluate(net, data.take(torch.tensor(order)), chosen, eps, check=check, fabric=team.fabric)
        seconds = torch.zeros(team.size, dtype=torch.float64)
        seconds[team.rank] = time.process_time() - used
        each, left = team.total(seconds).tolist(), report.results[0].survivors
        found[what] = {"seconds": time.perf_counter() - began, "processor seconds": each, "survivors": left}
    return found


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
    parser.add_argument("--survivors", type=int, default=0, help="instead, seconds of an attack on so many digits")
    parser.add_argument("--eps", type=float, default=0.22, help="its radius")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        case = Case(chosen.network, chosen.width, chosen.timesteps, chosen.batch)
        work(chosen.processes[0], chosen.accelerator, case, chosen.batches, chosen.survivors, chosen.eps, chosen.work)
        return
    given = [f"--{key}={getattr(chosen, key)}" for key in KEYS]
    environment = {**os.environ, "OMP_NUM_THREADS": str(chosen.threads)}
    best: dict[int, dict[str, float]] = {}
    for _ in range(chosen.repeats):
        for processes in chosen.processes:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "found.json"
                command = [sys.executable, "-m", "benchmarks.throughput", f"--processes={processes}", *given, f"--work={out}"]
                subprocess.run(command, check=True, env=environment)
                found = json.loads(out.read_text())
            if chosen.survivors:
                print(f"{processes} x {chosen.threads} threads:", json.dumps(found))
                continue
            best[processes] = {what: max(rate, best.get(processes, {}).get(what, 0.0)) for what, rate in found.items()}
    if not best:
        return
    one = best[min(best)]
    for processes, rates in best.items():
        line = ", ".join(f"{what} {rate:.1f} images/s ({rate / one[what]:.2f}x)" for what, rate in rates.items())
        print(f"{processes} x {chosen.threads} threads: {line}")


if __name__ == "__main__":
    main()
