"""Processor time of the same finetuning and attack under different options, and of compiling and converting.

python -m benchmarks.options      # benchmarks/performance/options.json: six minutes of processor time
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bench.worker import held, peak
from robustsnn import Linf, convert, keep_memory, train
from robustsnn.attacks import PGD
from robustsnn.cli import machine
from robustsnn.conversion import bfloat16, folded
from robustsnn.data import Samples
from robustsnn.files import write_atomic
from robustsnn.models import create
from robustsnn.names import Precision
from robustsnn.recipes import load_recipe
from robustsnn.reporting import versions
from robustsnn.seeds import generator
from robustsnn.training import NoisyFast, Schedule

OUT = Path(__file__).parent / "performance/options.json"
RECIPE, CONVERTED = "cifar10-robust", ("cifar10-robust", "cifar10-small")
BATCH, WARM, STEPS = 64, 4, 3
TURNS = 2


@dataclass(frozen=True)
class Option:
    """A difference from the command line's defaults.

    Arguments:
        keep: whether to call `keep_memory`.
        compiled: whether neurons are compiled.
        precision: of training, and of the attacked network.
        recompute: whether training recomputes activations.
    """

    keep: bool = True
    compiled: bool = True
    precision: Precision = "float32"
    recompute: bool = False


OPTIONS = {
    "default": Option(),
    "system allocator": Option(keep=False),
    "not compiled": Option(compiled=False),
    "bfloat16": Option(precision="bfloat16"),
    "recompute": Option(recompute=True),
}


def pixels(count: int) -> Tensor:
    """Random images."""
    return torch.rand(count, 3, 32, 32, generator=generator(0, "options"))


def body(recipe: str) -> nn.Module:
    """The ANN of a recipe, whose batch norms have seen images."""
    ann = create(classes=10, **load_recipe(recipe).model.model_dump())
    ann(pixels(BATCH))
    return ann.eval()


def work(option: Option) -> dict[str, float]:
    """In a process of its own: processor seconds of a finetuning step and of a step of PGD, and bytes of finetuning."""
    if option.keep:
        keep_memory()
    machine.keep_machine_code()
    x = pixels(STEPS * BATCH)
    net = convert(body(RECIPE), [x[:16]], load_recipe(RECIPE).dynamics(), calibration_timesteps=8)
    y = torch.arange(len(x)) % 10
    data, schedule = Samples((255 * x).byte(), y, classes=10), Schedule(1, BATCH, 1e-6, precision=option.precision)
    stamps: list[float] = []

    def finetune(samples: Samples) -> None:
        def on_step(epoch: int, step: int) -> None:
            stamps.append(time.process_time())

        train(net, samples, data.first(2), NoisyFast(), schedule, probe=None, recompute=option.recompute, on_step=on_step)

    def attack(images: Tensor, steps: int) -> None:
        guide = bfloat16(folded(net)) if option.precision == "bfloat16" else folded(net)
        PGD(steps)(guide, images, y[: len(images)], Linf(0.1))

    finetune(data.first(WARM))  # compilers and libraries are there before memory is looked at
    attack(x[:WARM], 1)
    before = held("cpu")
    finetune(data)
    found = {"finetuning": median(b - a for a, b in pairwise(stamps[1:])), "bytes": peak("cpu") - before}
    attack(x[:BATCH], 1)
    used = time.process_time()
    attack(x[:BATCH], STEPS)
    return {**found, "attack": (time.process_time() - used) / STEPS}


def conversion(recipe: str) -> float:
    """Processor seconds of converting the ANN of a recipe, with its settings."""
    chosen, ann = load_recipe(recipe), body(recipe)
    how = chosen.conversion
    batches = list(pixels(how.batch * how.batches).split(how.batch))
    keep_memory()
    began = time.process_time()
    convert(*(ann, batches, chosen.dynamics(), how.scale, how.percentile, how.timesteps, how.batch_norm), limit=how.batches)
    return time.process_time() - began


def measured(name: str, more: Mapping[str, str] = {}) -> tuple[Any, float]:
    """The answer of a process that does this, and its processor seconds from start to end."""
    compiled = name not in OPTIONS or OPTIONS[name].compiled
    environment = {**os.environ, "TORCH_COMPILE_DISABLE": str(int(not compiled)), **more}
    command = [sys.executable, "-m", "benchmarks.options", "--work", name]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return told, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> None:
    """All options in turns: medians."""
    measured("default")  # compiles what is not compiled yet
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in OPTIONS}
    for _ in range(TURNS):
        for name, found in turns.items():
            told, used = measured(name)
            found.append({**told, "process": used})
    options = {name: {key: median(each[key] for each in found) for key in found[0]} for name, found in turns.items()}
    with TemporaryDirectory() as folder:
        anew = measured("default", {"TORCHINDUCTOR_CACHE_DIR": folder})[1] - options["default"]["process"]
    conversion = {name: measured(name)[0] for name in CONVERTED}
    kept = {"compiling": anew, "conversion": conversion, "options": options, "versions": versions()}
    write_atomic(OUT, (json.dumps(kept, indent=1) + "\n").encode())


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=(*OPTIONS, *CONVERTED), help=argparse.SUPPRESS)
    asked = parser.parse_args(args).work
    if asked is None:
        measure()
    else:
        print(json.dumps(conversion(asked) if asked in CONVERTED else work(OPTIONS[asked])))


if __name__ == "__main__":
    main()
