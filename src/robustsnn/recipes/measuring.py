"""The stages of a run that measure networks and write reports."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import torch
from torch import nn

from robustsnn import checkpoint
from robustsnn.evaluation import Report, protocol
from robustsnn.evaluation import evaluate as evaluate_network
from robustsnn.files import digest, write_atomic
from robustsnn.recipes.planning import plan
from robustsnn.recipes.recipe import load_recipe, packaged
from robustsnn.recipes.stages import making
from robustsnn.recipes.working import Run
from robustsnn.reporting import Row, RunReport, board, different, read_report, versions, write_pages
from robustsnn.seeds import derive
from robustsnn.training import Epoch, read_history


def networks(run: Run) -> list[tuple[str, Run, str]]:
    """Return the networks of a run's report: name, run, and checkpoint name."""
    own, last = making(run.recipe), making()[-1]
    rows = [(run, stage) for stage in own] + [(other, last) for other in run.everyone[1:]]
    return [(f"{each.label} {stage.network}", each, stage.makes) for each, stage in rows]


def evaluate(run: Run) -> RunReport:
    """Measure every network of the run, and add its row to ``report.json``; existing rows are not measured again.

    A report of another recipe, or of other test images, is kept under another name, and the listener is told. Rows record
    the versions with which they were measured.
    """
    path, now = run.out / "report.json", made_with(run)
    told = tuple(plan(run.recipe, run.label))
    report = RunReport(recipe=run.recipe.table(), command=_command(run), versions=now, note=run.data.note, plan=told)
    if path.exists():
        try:
            before = read_report(path.read_bytes(), path)
        except ValueError as error:
            run.listener.say(f"measuring again: {error}")
        else:
            keys = different(before.recipe, report.recipe)
            if not keys and before.versions.get("test images") != now["test images"]:
                keys = ["content of data.name"]
            edition = protocol(run.recipe.evaluation.protocol).edition
            if not keys and {row.report.edition for row in before.rows} - {edition}:
                keys = ["edition of its protocol"]
            if keys:
                found = before.to_json()
                earlier = path.with_name(f"report-{hashlib.blake2b(found, digest_size=8).hexdigest()}.json")
                run.alone(partial(write_atomic, earlier, found))
                other = f"measuring again: {path} is of a recipe with another {' and '.join(keys)}"
                run.listener.say(f"{other}; it is kept as {earlier.name}")
            else:
                report = before.model_copy(update={"plan": told, "note": run.data.note})
                if report != before:  # written by a version without plans
                    run.alone(partial(write_atomic, path, report.to_json()))
    curves = {f"{each.label} {stage}": history for each in run.everyone for stage, history in _curves(each)}
    for name, source, kind in networks(run):
        if any(row.network == name for row in report.rows):
            continue
        measured = measure(run, source.open(kind), name, source.path(kind))
        changed = {what: version for what, version in now.items() if report.versions.get(what) != version}
        row = Row(network=name, report=measured, versions=changed)
        report = report.model_copy(update={"rows": (*report.rows, row), "curves": curves})
        run.alone(partial(write_atomic, path, report.to_json()))
    return report


def made_with(run: Run) -> dict[str, str]:
    """Return what results depend on: versions, device, processes, and digests of recipe, data and source code."""
    device, train, test = run.team.device, run.data.train, run.data.test
    pixels = {"train": train.values, "train.labels": train.labels, "test": test.values, "test.labels": test.labels}
    return {
        **versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": str(run.team.size),
        "deterministic": str(run.engine.deterministic).lower(),
        "recipe": hashlib.blake2b(run.recipe.toml(), digest_size=8).hexdigest(),
        "data": digest(pixels)[:16],
        "test images": test.digest()[:16],
    }


def _command(run: Run) -> str:
    """Return the command that reproduces the run, with the packaged recipe if it is unchanged, else with the run's own."""
    name = run.recipe.name
    same = name in packaged() and load_recipe(name) == run.recipe
    again = ("--out", str(run.out.parent / f"{run.out.resolve().name}-again"))
    return shlex.join(("robustsnn", "run", *((name,) if same else (str(run.out / "recipe.toml"), *again))))


def sources(run: Run, measured: Path) -> Iterable[tuple[str, nn.Module]]:
    """Yield the networks from which adversarial examples are transferred to the checkpoint ``measured``: the run's other ANNs
    and finetuned SNNs, and the checkpoints that the recipe names."""
    for name, source, kind in networks(run):
        path = source.path(kind)
        if kind == "ann" and source.recipe.untrained:
            continue  # examples of a network with random weights do not transfer
        if kind in ("ann", "snn") and path.exists() and not (measured.exists() and path.samefile(measured)):
            try:
                yield name, source.load(kind)  # the recipe does not matter: only its examples are used
            except ValueError as error:
                run.listener.say(f"no transfer from {name}: {error}")
    for other in run.recipe.evaluation.transfer:
        yield other, checkpoint.load(other).to(run.team.device)


def measure(run: Run, net: nn.Module, name: str, path: Path) -> Report:
    """Evaluate the network of a checkpoint as the recipe says; resumable state is kept next to the checkpoint."""
    settings = run.recipe.evaluation
    groups = [group for ensemble in protocol(settings.protocol).ensembles.values() for group in ensemble]
    state = path.with_suffix(f".{derive(repr(settings), run.recipe.seed):016x}.evaluation")
    begun = any(state.parent.glob(f"{state.name}*"))
    run.listener.say(f"{name}: evaluating{', resumed' if begun else ''}")
    return evaluate_network(
        net,
        run.data.test,
        settings,
        seed=run.recipe.seed,
        memory=run.engine.budget(),
        sources=dict(sources(run, path)) if any(group.transfers for group in groups) else {},
        fabric=run.team.fabric,
        state=state,
        on_progress=lambda what, share: run.listener.progress(f"{name}: {what}", share),
    )


def _curves(run: Run) -> Iterable[tuple[str, tuple[Epoch, ...]]]:
    for name, path in ((stage.name, run.path(stage.makes)) for stage in making() if run.finished(stage.makes)):
        if history := checkpoint.read_header(path).metrics.get("history"):
            yield name, read_history(history, path)


def report(run: Run) -> RunReport:
    """Write ``report.md`` and ``report.html`` from ``report.json``.

    Raises:
        ValueError: nothing has been evaluated in this folder.
    """
    value = _kept(run.out, "run the stage 'evaluate' first")
    run.alone(lambda: write_pages(value, run.out))
    return value


def _kept(folder: Path, remedy: str) -> RunReport:
    path = folder / "report.json"
    if folder.is_file():
        raise ValueError(f"{folder} is a file: use the folder of an evaluated run")
    if not path.is_file():
        raise ValueError(f"no {path}: {remedy}")
    return read_report(path.read_bytes(), path)


def compare(folders: Sequence[Path], out: Path) -> dict[str, RunReport]:
    """Write a page that ranks the networks of several runs, from their ``report.json``.

    Raises:
        ValueError: a folder has no report, or the report is of another version.
    """
    reports = {str(folder): _kept(folder, "use folders of evaluated runs") for folder in folders}
    pages = {str(folder): folder / "report.html" for folder in folders}
    links = {name: quote(os.path.relpath(path, out.parent)) for name, path in pages.items() if path.is_file()}
    write_atomic(out, board(reports, links).encode())
    return reports
