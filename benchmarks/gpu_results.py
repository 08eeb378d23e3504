"""The recipe `cifar10-robust` on WideResNet-16-4, then the published one on VGG11, in a given time.
Schedules are shortened as far as the time demands, and reports say so.

python -m benchmarks.gpu_results --minutes 25         # the same command goes on, with the schedules it chose at first
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.results import TimeIsUp, Work, stop
from benchmarks.rows import KEPT, MEASURES, Row
from robustsnn.conversion import spiking
from robustsnn.files import write_atomic
from robustsnn.recipes import Recipe, load_recipe
from robustsnn.recipes.engine import Engine
from robustsnn.recipes.sections import Training
from robustsnn.recipes.working import Run
from robustsnn.training import train

WIDE = "cifar10-robust-wideresnet16-4"
NETWORKS = (WIDE, "cifar10-vgg11")
STAGES: dict[str, dict[str, object]] = {
    "pretrain": {"epochs": 30, "batch": 512, "lr": 0.2, "average": 0.996, "precision": "bfloat16"},
    "staircase": {"epochs": 5, "batch": 512, "lr": 0.06, "average": 0.996, "precision": "bfloat16"},
    "finetune": {"epochs": 8, "batch": 256, "lr": 0.04, "average": 0.998, "precision": "bfloat16"},
}
"""How `WIDE` trains; epochs are at most these."""
TRAINING = 0.6
"""Share of a network's time that training gets; the rest is for conversion and measuring."""
STEPS = 5
"""Of training, to see how long one takes; the first two are not counted."""


def wide() -> Recipe:
    """`cifar10-robust` with another body and schedules, in bfloat16, in batches that keep a GPU busy.

    Its calibrated thresholds are about 4, twice those of `cifar10-robust`, so its surrogate is wider. Along `Triangle(1.0)`
    the training attack broke no image, and finetuning lost the robustness of the ANN (benchmarks/experiments.md).
    """
    recipe, body = load_recipe("cifar10-robust"), load_recipe("cifar10-wideresnet16-4").model
    stages = {stage: getattr(recipe, stage).model_copy(update=changes) for stage, changes in STAGES.items()}
    neurons = recipe.neurons.model_copy(update={"surrogate": "Triangle(2.5)"})
    return recipe.model_copy(update={"name": WIDE, "model": body, "neurons": neurons, **stages})


def schedule(recipe: str, width: float, seconds: float) -> dict[str, int]:
    """For how many epochs each stage may train: as the recipe says, or all shortened by one factor so that they fit.

    Arguments:
        recipe: a packaged recipe, or a TOML file.
        width: factor on the network's widths.
        seconds: for all stages of this network, measuring included.
    """
    value = load_recipe(recipe)
    value = value.model_copy(update={"model": value.model.model_copy(update={"width": width})})
    with TemporaryDirectory() as folder:
        run = Run(value, Path(folder), team=Engine().launch())
        ann, (images, _) = run.start(), run.parts()
        net = spiking(ann, images.batch(torch.arange(2))[0], value.dynamics(), 1.0)
        stages = {"pretrain": (ann, value.pretrain), "staircase": (ann, value.staircase), "finetune": (net, value.finetune)}
        stages = {stage: how for stage, how in stages.items() if how[1].epochs}
        alike = {(body, how.objective, how.batch): (body, how) for body, how in stages.values()}
        seconds_of = {key: epoch(run, *how) for key, how in alike.items()}
        wanted = sum(how.epochs * seconds_of[body, how.objective, how.batch] for body, how in stages.values())
    share = min(1.0, TRAINING * seconds / wanted)
    return {stage: max(1, int(share * how.epochs)) for stage, (_, how) in stages.items()}


def epoch(run: Run, net: nn.Module, how: Training) -> float:
    """Seconds that an epoch would take, judged by a few steps."""
    images, _ = run.parts()
    few, seen = images.first(STEPS * how.batch), [time.perf_counter()]
    train(
        net,
        few,
        few.first(2),
        how.value(),
        replace(how.schedule(), epochs=1, lr=1e-6, average=0.0),  # whose norms would see more batches than these few
        probe=None,
        fabric=run.team.fabric,
        on_step=lambda *_: seen.append(time.perf_counter()),
    )
    counted = seen[min(2, len(seen) - 2) :]
    return (counted[-1] - counted[0]) / (len(counted) - 1) * -(-len(images) // how.batch)


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--width", type=float, default=1.0, help="factor on the networks' widths")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help=f"recipes, or {WIDE}")
    parser.add_argument("--measures", nargs="+", choices=list(MEASURES), default=("whole", "whole_rigorous"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-results"))
    parser.add_argument("--kept", type=Path, default=KEPT, help="where reports are kept")
    chosen = parser.parse_args(args)
    until = time.time() + 60 * chosen.minutes
    work = Work(chosen.out, until, chosen.kept)
    try:
        for number, recipe in enumerate(chosen.networks):
            name = Path(recipe).stem
            plan = chosen.out / f"{name}.json"
            if recipe == WIDE:
                recipe = str(chosen.out / f"{WIDE}.toml")
                write_atomic(Path(recipe), wide().toml())
            if not plan.exists():
                left = (until - time.time()) / (len(chosen.networks) - number)
                write_atomic(plan, json.dumps(schedule(recipe, chosen.width, left)).encode())
            flags = [f"--{stage}.epochs={count}" for stage, count in json.loads(plan.read_text()).items()]
            row = Row(name, recipe, (f"--model.width={chosen.width:g}", *flags), measures=tuple(chosen.measures))
            work.make(f"gpu_{name}", row, 0)
    except TimeIsUp:
        print("time is up: the same command goes on", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    main()
