"""The stages of a run in a folder: pretrain, convert, finetune, evaluate, report. A finished stage is never done again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from torch import nn

from robustsnn import checkpoint, models
from robustsnn.conversion import convert as convert_network
from robustsnn.evaluation import Report
from robustsnn.evaluation import evaluate as evaluate_network
from robustsnn.files import remove_leftovers, write_atomic
from robustsnn.recipes.recipe import load_recipe, packaged
from robustsnn.recipes.run import SHAPED_BY, Run
from robustsnn.recipes.sections import Training
from robustsnn.reporting import Row, RunReport, markdown, page, read_report, versions
from robustsnn.seeds import generator
from robustsnn.training import AfterStep, Epoch, ThresholdFloor, best_epoch, train


def prepared(run: Run, needs: str = "") -> Iterable[Run]:
    """The run and its baselines, once it is sure that bodies can be built and that the folders hold what they should.

    Raises:
        ValueError: a body that cannot be built, a folder that holds another run, or the checkpoint ``needs`` is not there;
            nothing has been written then.
    """
    everyone = run.everyone()
    for each in everyone:
        models.create(**each.header()["model"])
        for name in SHAPED_BY:
            each.finished(name)
        if needs:
            each.require(needs)
    for each in everyone:
        remove_leftovers(each.out)
        write_atomic(each.out / "recipe.toml", each.recipe.toml())
    return everyone


def pretrain(run: Run) -> None:
    """Train the ANN of the run and of its baselines: ``ann.safetensors``."""
    for each in prepared(run):
        _pretrain(each)


def convert(run: Run) -> None:
    """Convert the ANNs: ``converted.safetensors``."""
    for each in prepared(run, "ann"):
        _convert(each)


def finetune(run: Run) -> None:
    """Train weights and thresholds of the converted networks: ``snn.safetensors``."""
    for each in prepared(run, "converted"):
        _finetune(each)


def _pretrain(run: Run) -> None:
    if run.finished("ann"):
        return run.listener.say(f"{run.label} ANN: already trained")
    net = models.create(**run.header()["model"])
    return _train(run, "pretrain", "ann", net, run.recipe.pretrain, ())


def _convert(run: Run) -> None:
    if run.finished("converted"):
        return run.listener.say(f"{run.label} SNN: already converted")
    settings = run.recipe.conversion
    ann = run.open("ann")
    images, _ = run.parts()
    order = generator(run.recipe.seed, "calibration")
    batches = [x for x, _, _ in images.batches(settings.batch, order)][: settings.batches]
    layers = sum(isinstance(module, nn.ReLU) for module in ann.modules()) or 1
    found: list[str] = []

    def on_layer(name: str, threshold: float) -> None:
        found.append(name)
        run.listener.progress(f"{run.label} conversion", min(1.0, len(found) / layers))

    net = convert_network(
        ann,
        batches,
        run.recipe.dynamics(),
        settings.scale,
        settings.percentile,
        settings.timesteps,
        settings.batch_norm,
        allow={"max_pool"} if settings.max_pool else (),
        limit=settings.batches,
        on_layer=on_layer,
    )
    calibrated = net.conversion_report.calibrated
    _write_metrics(run, "convert", [{"thresholds": calibrated, "scale": settings.scale}])
    checkpoint.save(run.path("converted"), net, run.header(), {"thresholds": calibrated})
    return run.listener.say(f"{run.label} SNN: converted, thresholds " + ", ".join(f"{t:.3g}" for t in calibrated.values()))


def _finetune(run: Run) -> None:
    if run.finished("snn"):
        return run.listener.say(f"{run.label} SNN: already finetuned")
    net = run.open("converted")
    return _train(run, "finetune", "snn", net, run.recipe.finetune, (ThresholdFloor(run.recipe.finetune.threshold_floor),))


def _train(run: Run, stage: str, name: str, net: nn.Module, how: Training, after_step: tuple[AfterStep, ...]) -> None:
    images, validation = run.parts()
    steps = -(-len(images) // how.batch)
    what = f"{run.label} {stage}"

    def on_epoch(epoch: Epoch) -> None:
        robust = f"  robust {epoch.robust:.1%}" if how.probe else ""
        run.listener.say(
            f"{what}: epoch {epoch.epoch + 1}/{how.epochs}  loss {epoch.loss:.4f}  validation clean {epoch.clean:.1%}"
            f"{robust}  ({epoch.seconds:.1f} s)"
        )

    figures = train(
        net,
        images,
        validation,
        how.value(),
        how.schedule(),
        probe=how.attack(),
        augment=run.recipe.data.augment(how.cutout, run.data.mean),
        after_step=after_step,
        seed=run.recipe.seed,
        state=run.path(name).with_suffix(".state"),
        on_step=lambda epoch, step: run.listener.progress(what, (epoch * steps + step + 1) / (steps * how.epochs)),
        on_epoch=on_epoch,
    )
    _write_metrics(run, stage, [asdict(epoch) for epoch in figures])
    chosen = best_epoch(figures)
    checkpoint.save(
        run.path(name), net, run.header(), {"history": [asdict(e) for e in figures], "kept_epoch": chosen.epoch + 1}
    )
    run.finished(name)
    run.listener.say(f"{what}: kept epoch {chosen.epoch + 1}")


def _write_metrics(run: Run, stage: str, rows: list[dict[str, Any]]) -> None:
    """Put the lines of a stage into ``metrics.jsonl``, in place of those an interrupted run may have left."""
    path = run.out / "metrics.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["stage"] != stage] if path.exists() else []
    lines = kept + [json.dumps({"stage": stage, **row}) for row in rows]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def networks(run: Run) -> list[tuple[str, Run, str]]:
    """What a run's table shows: name, the run it comes from, and its checkpoint."""
    rows = [(f"{run.label} ANN", run, "ann"), (f"{run.label} SNN, converted", run, "converted")]
    rows.append((f"{run.label} SNN, finetuned", run, "snn"))
    return rows + [(f"{other.label} SNN, finetuned", other, "snn") for other in run.everyone()[1:]]


def evaluate(run: Run) -> RunReport:
    """Measure every network of the run; ``report.json`` grows by a row at a time and continues where it stopped."""
    path = run.out / "report.json"
    report = RunReport(recipe=run.recipe.table(), command=_command(run), versions=versions())
    if path.exists():
        try:
            before = read_report(path.read_bytes(), path)
        except ValueError as error:
            run.listener.say(f"measuring anew: {error}")
        else:
            report = before if before.recipe == report.recipe else report
    for name, source, kind in networks(run):
        if any(row.network == name for row in report.rows):
            continue
        measured = measure(source, source.open(kind), name)
        curves = {f"{r.label} {stage}": history for r in run.everyone() for stage, history in _curves(r)}
        report = report.model_copy(update={"rows": (*report.rows, Row(network=name, report=measured)), "curves": curves})
        write_atomic(path, report.to_json())
    return report


def _command(run: Run) -> str:
    """What makes the same run again: the packaged recipe if it is that, else the one in the run's folder."""
    name = run.recipe.name
    same = name in packaged() and load_recipe(name) == run.recipe
    again = ("--out", str(run.out.with_name(f"{run.out.name}-again")))
    return shlex.join(("robustsnn", "run", *((name,) if same else (str(run.out / "recipe.toml"), *again))))


def measure(run: Run, net: nn.Module, name: str) -> Report:
    """What the recipe's evaluation gives for a network."""
    settings = run.recipe.evaluation
    run.listener.say(f"{name}: evaluating")
    return evaluate_network(
        net,
        run.data.test,
        settings.protocol,
        settings.eps,
        attacks=settings.attacks or None,
        rule=settings.rule,
        seed=run.recipe.seed,
        batch=settings.batch,
        on_progress=lambda what, share: run.listener.progress(f"{name}: {what}", share),
    )


def _curves(run: Run) -> Iterable[tuple[str, tuple[Epoch, ...]]]:
    for stage, name in (("pretrain", "ann"), ("finetune", "snn")):
        history = checkpoint.read_header(run.path(name)).metrics["history"]
        yield stage, tuple(Epoch(**epoch) for epoch in history)


def report(run: Run) -> RunReport:
    """Write ``report.md`` and ``report.html`` from ``report.json``.

    Raises:
        ValueError: nothing has been evaluated in this folder.
    """
    path = run.out / "report.json"
    if not path.is_file():
        raise ValueError(f"no {path}: run the stage 'evaluate' first")
    value = read_report(path.read_bytes(), path)
    write_atomic(run.out / "report.md", markdown(value).encode())
    write_atomic(run.out / "report.html", page(value).encode())
    return value


def run_all(run: Run) -> RunReport:
    """Every stage that is not done yet."""
    for stage in (pretrain, convert, finetune, evaluate):
        stage(run)
    return report(run)
