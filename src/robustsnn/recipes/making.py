"""The stages of a run that make networks; each has an entry in `robustsnn.recipes.stages`."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from typing import Any

from torch import nn

from robustsnn.conversion import convert as convert_network
from robustsnn.conversion import renew, spiking
from robustsnn.conversion import staircase as climb
from robustsnn.conversion.calibration import Checked
from robustsnn.evaluation.measures.layers import thresholds
from robustsnn.files import write_atomic
from robustsnn.recipes.loggers import NONE, logger
from robustsnn.recipes.sections import Conversion, Training
from robustsnn.recipes.stages import needed_by
from robustsnn.recipes.working import Run
from robustsnn.seeds import generator
from robustsnn.spiking import NeuronLayer
from robustsnn.training import AfterStep, Epoch, KeepZeros, best_epoch, bound, prune, train
from robustsnn.training.diagnostics import idle_layers

CALIBRATED_BY = ("scale", "percentile", "timesteps", "granularity")
"""Conversion keys that have no effect if the threshold is given."""


def pretrain(run: Run) -> None:
    """Train the ANN, or load the weights that the recipe names: ``ann.safetensors``."""
    recipe, net = run.recipe, run.start()
    if recipe.weights:
        run.listener.say(f"{run.label} ANN: weights of {recipe.weights}")
        return run.save("ann", net)
    return _train(run, "pretrain", "ann", net, recipe.pretrain, recipe.pretrain.acts())


def prune_ann(run: Run) -> None:
    """Remove the smallest weights of the ANN and retrain the others: ``pruned.safetensors``."""
    settings, net = run.recipe.prune, run.open(needed_by("prune", run.recipe))
    prune(net, settings.sparsity)
    how = run.recipe.pretrain.model_copy(update={"epochs": settings.epochs, "lr": settings.lr})
    return _train(run, "prune", "pruned", net, how, (*how.acts(), KeepZeros.of(net)))


def staircase(run: Run) -> None:
    """Train the ANN further, with staircase activations: ``staircase.safetensors``."""
    how, ann = run.recipe.staircase, run.open(needed_by("staircase", run.recipe))
    allow = {"max_pool"} if run.recipe.conversion.max_pool else set[str]()
    net = climb(ann, _calibration(run), run.recipe.levels, how.percentile, allow=allow)
    zeros = [KeepZeros.of(net)] if run.recipe.prune.sparsity else []
    return _train(run, "staircase", "staircase", net, how, (*how.acts(), *zeros))


def _calibration(run: Run) -> Checked:
    """Return the batches of images that calibrate thresholds."""
    settings, (images, _) = run.recipe.conversion, run.parts()
    order = generator(run.recipe.seed, "calibration")
    device = run.team.device
    return Checked(x.to(device) for x, _, _ in islice(images.batches(settings.batch, order), settings.batches))


def convert(run: Run) -> None:
    """Convert the ANN: ``converted.safetensors``."""
    settings, batches = run.recipe.conversion, _calibration(run)
    ann = run.open(needed_by("convert", run.recipe))
    layers = sum(isinstance(module, nn.ReLU) for module in ann.modules()) or 1
    found: list[str] = []

    def on_layer(name: str, threshold: float) -> None:
        found.append(name)
        run.listener.progress(f"{run.label} conversion", min(1.0, len(found) / layers))

    allow = {"max_pool"} if settings.max_pool else set[str]()
    if settings.threshold is not None:
        net = spiking(ann, batches[0], run.recipe.dynamics(), settings.threshold, allow=allow, signal=run.signal)
        if not run.recipe.untrained:
            renew(net, settings.batch_norm, batches)
        if unused := [key for key in CALIBRATED_BY if getattr(settings, key) != getattr(Conversion(), key)]:
            run.listener.say(
                f"{run.label} SNN: conversion.threshold sets all thresholds, so {', '.join(unused)} of conversion are ignored"
            )
    else:
        net = convert_network(
            ann,
            batches,
            run.recipe.dynamics(),
            scale=settings.scale,
            percentile=settings.percentile,
            calibration_timesteps=settings.timesteps if run.signal.once else None,
            batch_norm=settings.batch_norm,
            granularity=settings.granularity,
            signal=run.signal,
            allow=allow,
            limit=settings.batches,
            on_layer=on_layer,
        )
    calibrated = net.conversion_report.calibrated
    _write_metrics(run, "convert", [{"thresholds": calibrated, "scale": net.conversion_report.scale}])
    run.save("converted", net, {"thresholds": calibrated})
    for warning in idle_layers(net, batches[0]):
        run.listener.say(f"{run.label} SNN: {warning}")
    values = ", ".join(f"{value:.3g}" for value in thresholds(net).values())
    return run.listener.say(f"{run.label} SNN: converted, thresholds {values}")


def finetune(run: Run) -> None:
    """Train weights and thresholds of the converted network: ``snn.safetensors``."""
    net, how = run.open(needed_by("finetune", run.recipe)), run.recipe.finetune
    for neuron in net.modules():
        if isinstance(neuron, NeuronLayer):
            neuron.threshold.requires_grad_(how.train_thresholds)
    return _train(run, "finetune", "snn", net, how, (*how.acts(), *([KeepZeros.of(net)] if run.recipe.prune.sparsity else [])))


def _train(run: Run, stage: str, name: str, net: nn.Module, how: Training, after_step: tuple[AfterStep, ...]) -> None:
    if not how.epochs:
        run.save(name, net)
        return
    images, validation = run.parts()
    steps = -(-len(images) // how.batch)
    what, probe = f"{run.label} {stage}", how.attack()

    def on_epoch(epoch: Epoch) -> None:
        robust = f"  robust {epoch.robust:.1%}" if probe else ""
        run.listener.say(
            f"{what}: epoch {epoch.epoch + 1}/{how.epochs}  loss {epoch.loss:.4f}  validation clean {epoch.clean:.1%}"
            f"{robust}  ({epoch.seconds:.1f} s)"
        )

    with logger(run.logger if run.team.first else NONE, run.out / "logs", stage) as tracker:
        figures = train(
            net,
            images,
            validation,
            bound(how.value(), run.network),
            how.schedule(),
            probe=probe,
            probe_threat=how.threat(),
            augment=run.recipe.data.augment(how.cutout, run.data.mean),
            after_step=after_step,
            stop=how.stops(),
            seed=run.recipe.seed,
            fabric=run.team.fabric,
            logger=tracker,
            recompute=run.engine.recompute,
            memory=run.engine.budget(),
            state=run.path(name).with_suffix(".state"),
            on_step=lambda epoch, step: run.listener.progress(what, (epoch * steps + step + 1) / (steps * how.epochs)),
            on_epoch=on_epoch,
            on_warning=lambda line: run.listener.say(f"{what}: {line}"),
        )
    _write_metrics(run, stage, [asdict(epoch) for epoch in figures])
    chosen = best_epoch(figures)
    run.save(name, net, {"history": [asdict(e) for e in figures], "kept_epoch": chosen.epoch + 1})
    run.listener.say(f"{what}: kept epoch {chosen.epoch + 1}")


def _write_metrics(run: Run, stage: str, rows: list[dict[str, Any]]) -> None:
    run.alone(lambda: _metrics(run, stage, rows))


def _metrics(run: Run, stage: str, rows: list[dict[str, Any]]) -> None:
    """Write a stage's lines to ``metrics.jsonl``, replacing those of an interrupted run."""
    path = run.out / "metrics.jsonl"
    try:
        kept = [line for line in path.read_text().splitlines() if json.loads(line)["stage"] != stage] if path.exists() else []
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is damaged: remove it; the checkpoints contain the same metrics") from None
    lines = kept + [json.dumps({"stage": stage, **row}) for row in rows]
    write_atomic(path, ("\n".join(lines) + "\n").encode())
