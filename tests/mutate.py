"""Change bytes at random in everything this project reads from disk, and look at what becomes of it.

    python tests/mutate.py --inputs 10000

Each input must be read as it is or refused by a ValueError in one line, within seconds, and no file may appear anywhere.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import torch

from robustsnn import checkpoint, cli
from robustsnn.conversion import spiking
from robustsnn.data import digits, load_dataset
from robustsnn.evaluation import Audit, evaluate
from robustsnn.evaluation.state import State
from robustsnn.files import read_tensors
from robustsnn.models import create
from robustsnn.recipes import load_recipe
from robustsnn.reporting import Row, RunReport, read_report
from robustsnn.spiking import Dynamics
from robustsnn.training import Natural, Schedule, train

SECONDS = 20
"""Longer is a hang."""

RECIPE = """
name = "mutated"
timesteps = 2
data.limit = 20
model.width = 0.25
pretrain = {objective = "Trades(eps=4/255, steps=2)", epochs = 1, lr = "1/20", probe = "FGSM()"}
finetune = {objective = "RobustFinetuning(eps=0.1, alpha=0.05)", epochs = 1, after_step = ["Retraction(beta=2e-3)"]}
evaluation = {protocol = "quick", attacks = ["FGSM"], eps = ["8/255", 0.1], limit = 4, audit_images = 0}
[neurons]
surrogate = "Triangle(2.0)"
[baselines.natural]
finetune = {objective = "Natural()"}
"""


class Killed(BaseException):
    """Cuts a job short, so that its state stays."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, removed, repeated or put in; the head of the file, where formats keep what matters, more often."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        reach = len(found) if rng.random() < 0.5 else min(len(found), 2000)
        place = rng.randrange(max(1, reach))
        kind = rng.randrange(5)
        if kind == 0:
            found[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            found[place : place + 1] = rng.choice((b"9", b"-", b"0", b'"', b"[", b"{", b"e99", b"null", b"\xff", b"1e400"))
        elif kind == 2:
            del found[place : place + rng.choice((1, 2, 8, 64))]
        elif kind == 3:
            found[place:place] = found[place : place + rng.choice((1, 4, 32))]
        else:
            del found[place + rng.randrange(max(1, reach)) :]
    return bytes(found)


def samples(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A good file of every kind, and what reads it."""
    data, seen = digits(), digits().train.batch(torch.arange(8))[0]
    model = {"name": "digits", "classes": 10, "size": 8, "channels": 1, "width": 0.25}
    net = spiking(create(**model), seen, Dynamics(2), threshold=0.5)
    few, test = data.train.first(24), data.test.first(6)

    (folder / "recipe.toml").write_text(RECIPE)
    checkpoint.save(folder / "net.safetensors", net, {"model": model, "name": "x"}, {"clean": 0.5})
    torch.save(create(**model).state_dict(), folder / "weights.pth")

    def taught(state: Path, on_epoch: Callable[[object], None] = lambda epoch: None) -> object:
        how = Schedule(epochs=2, batch=16)
        return train(create(**model), few, test, Natural(), how, probe=None, state=state, keep_every=0, on_epoch=on_epoch)

    def stop(*_: object) -> None:
        raise Killed

    def measured(state: Path) -> object:
        def on_progress(what: str, share: float) -> None:
            if what.startswith("PGD") and share > 0.5:
                raise Killed

        return evaluate(net, test, "quick", 0.1, check=Audit(images=0), state=state, on_progress=on_progress)

    with suppress(Killed):
        taught(folder / "x.state", stop)
    with suppress(Killed):
        measured(folder / "x.evaluation")
    key = read_tensors(folder / "x.evaluation")[1]["key"]
    report = evaluate(net, test, "quick", 0.1, attacks=["FGSM"], check=Audit(images=0))
    rows = (Row(network="x", report=report),)
    (folder / "report.json").write_bytes(RunReport(recipe={"name": "x"}, command="x", versions={}, rows=rows).to_json())
    parquet(folder / "images.parquet")

    def imported(path: Path) -> object:
        return checkpoint.import_published(create(**model), checkpoint.read_weights(path))

    return {
        "recipe": (folder / "recipe.toml", lambda path: load_recipe(str(path))),
        "checkpoint": (folder / "net.safetensors", checkpoint.load),
        "command line": (folder / "net.safetensors", lambda path: command(["info", str(path)])),
        "weights": (folder / "weights.pth", imported),
        "training state": (folder / "x.state", taught),
        "evaluation state": (folder / "x.evaluation", lambda path: State.resume(path, key)),
        "report": (folder / "report.json", lambda path: read_report(path.read_bytes(), path)),
        "images": (folder / "images.parquet", lambda path: load_dataset(str(path))),
    }


def command(args: list[str]) -> None:
    """A command, whose error is one line."""
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        status = cli.main(args)
    if status == 2 and errors.getvalue().count("\n") == 1:
        raise ValueError(errors.getvalue())
    if status:
        raise AssertionError(f"status {status}: {errors.getvalue()}")


def parquet(path: Path) -> None:
    """A few small pictures with labels."""
    import datasets
    import numpy as np
    from PIL import Image

    rows = []
    for i in range(12):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
        rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": i % 3})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(path))


def hang(*_: object) -> None:
    raise TimeoutError("a hang")


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def main(inputs: int, seed: int) -> int:
    """Do it; the number of inputs that went wrong."""
    rng, told, wrong = random.Random(seed), Counter[str](), 0
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, hang)
    with tempfile.TemporaryDirectory() as home:
        scratch, folder, elsewhere = (Path(home) / name for name in ("scratch", "good", "elsewhere"))
        for each in (scratch, folder, elsewhere):
            each.mkdir()
        here = Path.cwd()
        os.chdir(elsewhere)
        os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
        os.environ["HF_HOME"] = str(scratch / "hf")
        kinds = samples(folder)
        weights = dict.fromkeys(kinds, 10) | {"images": 1, "training state": 3}
        good = {kind: path.read_bytes() for kind, (path, _) in kinds.items()}
        for path, read in kinds.values():
            read(path)  # unharmed, everything can be read
        for kind, (path, _) in kinds.items():
            path.write_bytes(good[kind])
        os.environ["HOME"] = str(elsewhere)
        before = files_in(folder)
        for number in range(inputs):
            kind = rng.choices(list(kinds), [weights[kind] for kind in kinds])[0]
            path, read = kinds[kind]
            place = scratch / f"{number}{path.suffix}"
            place.write_bytes(mutated(good[kind], rng))
            signal.alarm(SECONDS)
            began = time.monotonic()
            try:
                read(place)
                told[f"{kind}: read"] += 1
            except ValueError as error:
                told[f"{kind}: refused"] += 1
                if not str(error).strip():
                    raise AssertionError(f"{kind} {number}: an empty line") from error
            except BaseException as error:
                wrong += 1
                kept = Path(tempfile.gettempdir()) / f"mutated-{number}{path.suffix}"
                kept.write_bytes(place.read_bytes())
                what = f"{type(error).__name__}: {str(error)[:200]}, after {time.monotonic() - began:.1f} s"
                print(f"{kind} {number}: {what}; {kept}")
            finally:
                signal.alarm(0)
            place.unlink(missing_ok=True)
        os.chdir(here)
        escaped = files_in(elsewhere) | (files_in(folder) - before)
        wrong += len(escaped)
        for line, count in sorted(told.items()):
            print(f"{count:6d}  {line}")
        print(f"{inputs} inputs: {wrong} crashes, hangs or files elsewhere{f' ({escaped})' if escaped else ''}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sys.exit(min(1, main(chosen.inputs, chosen.seed)))
