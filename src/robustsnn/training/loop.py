"""The training loop for ANN and SNN: SGD, cosine schedule, selection of the most robust epoch, resumable at any step."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.compute.layout import layout
from robustsnn.compute.precision import apart
from robustsnn.compute.recompute import recomputing
from robustsnn.conversion import folded
from robustsnn.data import Augment, Samples, answers, as_samples, split
from robustsnn.files import digest
from robustsnn.history import Epoch, best_epoch
from robustsnn.names import amount
from robustsnn.processes import Team, one_process
from robustsnn.seeds import generator, image_seeds, randomness
from robustsnn.training.averaging import RENEWED, Average, renew
from robustsnn.training.binding import networks_of
from robustsnn.training.diagnostics import exceeds, frozen, idle_layers, narrow, not_finite, overfitting
from robustsnn.training.distributed import Loss, synchronised
from robustsnn.training.objectives import Pass, passes, probe_of, within
from robustsnn.training.registry import objective as spelled
from robustsnn.training.schedule import MakeOptimizer, Schedule, Stop
from robustsnn.training.training_state import Keeper, Position, retrained
from robustsnn.types import Attack, Logger, Objective, Threat

if TYPE_CHECKING:
    import lightning_fabric

AfterStep = Callable[[nn.Module], None]
"""Changes a network's parameters after an optimiser step."""

HELD_OUT = 0.1
"""Fraction of the samples that is held out for validation if none are given."""


@apart()
def train(
    net: nn.Module,
    data: Any,
    validation: Any = None,
    objective: Objective | str = "Trades(beta=6, eps=8/255)",
    schedule: Schedule = Schedule(),
    *,
    probe: Attack | Literal["own"] | None = "own",
    probe_threat: Threat | None = None,
    augment: Augment = Augment(),
    after_step: Sequence[AfterStep] = (),
    stop: Stop = lambda history: False,
    seed: int = 0,
    optimizer: MakeOptimizer | None = None,
    logger: Logger | None = None,
    fabric: lightning_fabric.Fabric | None = None,
    recompute: bool = False,
    memory: int | str | None = None,
    state: Path | None = None,
    keep_every: float = 60.0,
    on_step: Callable[[int, int], None] = lambda epoch, step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_warning: Callable[[str], None] = lambda line: None,
) -> tuple[Epoch, ...]:
    """Train a network in place. It ends with the weights of its best epoch (`best_epoch`), in eval mode.

    Arguments:
        net: an ANN or a `SpikingNetwork`; all its parameters, thresholds included, are trained.
        data: training samples, as `as_samples` takes them.
        validation: samples that select the epoch by accuracy under ``probe``, then by clean accuracy. None holds out a tenth
            of ``data``, stratified by class and drawn from ``seed``.
        objective: a value such as ``Trades(beta=6, eps=8/255)``, or its text.
        probe: the attack of validation, with the same random starts in every epoch; ``"own"`` is `probe_of` the objective,
            None selects by clean accuracy.
        probe_threat: threat of the probe; None uses that of the objective.
        after_step: functions that change the parameters after every optimiser step.
        stop: called after every epoch to end early, for example ``CatastrophicOverfitting()``.
        seed: of order, augmentation and inner attacks; every epoch draws from (seed, epoch).
        optimizer: a class of `torch.optim`, such as ``AdamW``; None is SGD. The schedule sets learning rate and weight decay.
        logger: logs the figures of every epoch, after a resume again, such as ``lightning_fabric.loggers.CSVLogger("logs")``.
        fabric: where to run; None uses the network's device. Several processes share every batch and follow the same losses.
        recompute: keep only the activations between blocks and recompute the others: less memory, more time.
        memory: recompute if the graphs of a step need more than this many bytes, or than an amount such as ``"8GiB"``.
        state: file for the training state, written after every epoch and every ``keep_every`` seconds; training resumes from
            it if it exists. The two previous states are kept next to it.
        on_step, on_epoch: called with the progress.
        on_warning: called with warnings: idle layers, frozen tensors, a narrow surrogate, collapsed robustness.

    Returns:
        The figures of every epoch.

    Raises:
        ValueError: no samples, a network that does not fit them, a bad objective, or a state of another training or teacher.
        FloatingPointError: a loss is not finite; the message names the place, and the last good state stays.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> samples = Samples(torch.rand(8, 1, 2, 2), torch.arange(8) % 2, classes=2)
        >>> [epoch.epoch for epoch in train(net, samples, samples, "Natural()", Schedule(epochs=2))]
        [0, 1]
    """
    samples = as_samples(data)
    images, validation = split(samples, HELD_OUT, seed) if validation is None else (samples, as_samples(validation))
    if not len(images) or not len(validation):
        raise ValueError("training needs samples to train on and samples to validate on")
    for part in (images, validation):
        answers(net, part)
    for line in (*frozen(net), *narrow(net)):
        on_warning(line)
    objective = spelled(objective) if isinstance(objective, str) else objective
    fabric = fabric or one_process(next(net.parameters()).device)
    probe = probe_of(objective) if probe == "own" else probe
    threat = within(objective) if probe_threat is None else probe_threat
    team = Team(fabric)
    seen = [part.digest(ids=True) for part in (images, validation)]
    taught = [digest(network.state_dict()) for network in networks_of(objective)]
    values = repr((objective, schedule, probe, threat, augment, after_step, seed, seen, digest(net.state_dict()), taught))
    values += f" {optimizer}" if optimizer else ""
    what = re.sub(" at 0x[0-9a-fA-F]+", "", values)  # addresses of functions differ between processes
    device = fabric.device
    images, validation, net = images.near(device), validation.near(device), net.to(device)
    for network in networks_of(objective):
        network.to(device)
    memory_format = layout(net) if images.values.dim() == 4 else torch.contiguous_format
    steps = schedule.optimizer(net, optimizer)
    retrained(net)
    keeper = Keeper(state, what, net, steps, on_warning)
    at = keeper.resume() or Position((), {})
    average = Average.of(net, schedule.average) if schedule.average else None
    if average is not None:
        average.values.update({name: value.to(device) for name, value in at.average.items()})
        at = replace(at, average=average.values)
    view = net if team.size == 1 else synchronised(net)
    first, share = next(images.first(2).to(device).batches(2))[0], -(-schedule.batch // team.size)
    recompute = recompute or exceeds(amount(memory), net, first, share, on_warning)
    loss_of, steps = fabric.setup(Loss(recomputing(view) if recompute else view), steps)
    warned: set[str] = set()
    few, _, _ = next(validation.first(64).to(device).batches(64))

    mixed = partial(torch.autocast, device.type, torch.bfloat16, enabled=schedule.precision == "bfloat16")
    log: Callable[..., None] = logger.log_metrics if logger is not None and team.first else lambda metrics, step: None

    def keep(now: Position) -> Position:
        if team.first:
            keeper.keep(now)
        return now

    def losses_on(x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Iterator[Pass], float]:
        """Return the losses on this process's share of a batch, and its weight in the mean over all images."""
        x = augment(x.to(device), rng)
        seeds = torch.randint(2**62, (len(x),), generator=rng).to(device)
        mine = team.share(len(x)).to(device)
        weight = 1 if len(mine) == len(x) else len(mine) * team.size / len(x)
        x = x[mine].contiguous(memory_format=memory_format)
        return passes(objective, x, y.to(device)[mine], seeds[mine], epoch / schedule.epochs), weight

    for before in at.history:  # a logger that is opened again after an interruption begins anew
        log(before.metrics, step=before.epoch)
    for epoch in range(len(at.history), schedule.epochs):
        if at.history and stop(at.history):
            break
        spent, lr = _watch(at.spent), schedule.rate(epoch)
        for group in steps.param_groups:
            group["lr"] = lr
        loss_of.train()
        rng, kept = generator(seed, "epoch", epoch), time.monotonic()
        for step, (x, y, index) in enumerate(images.batches(schedule.batch, rng)):
            if step < at.step:
                continue  # finished before an interruption
            if step == at.step and at.rng is not None:
                rng.set_state(at.rng)
            shown, weight = losses_on(x, y, rng)
            losses = []
            for loss_on in shown:
                steps.zero_grad()
                with randomness(seed, "dropout", epoch, step, fabric.global_rank):
                    with mixed():
                        loss = loss_of(loss_on) * weight
                    fabric.backward(loss)
                losses.append(float(team.total(loss.detach())) / team.size)
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(
                        not_finite(losses[-1], net, x.to(device), f"epoch {epoch}, step {step}", lr, state)
                    )
                steps.step()
                for act in after_step:
                    act(net)
            if average is not None:
                average.update(net, epoch * -(-len(images) // schedule.batch) + step)
            at = replace(at, step=step + 1, total=at.total + sum(losses) / len(losses) * len(index), rng=None)
            if time.monotonic() - kept > keep_every:
                keep(replace(at, rng=rng.get_state(), spent=spent()))
                kept = time.monotonic()
            on_step(epoch, step)
        measured = net
        if average is not None:
            measured, rng = average.network(net), generator(seed, "average", epoch)
            renewed = measured if team.size == 1 else synchronised(measured)
            with randomness(seed, "average", epoch, fabric.global_rank), mixed():
                for x, y, _ in islice(images.batches(schedule.batch, rng), RENEWED):
                    renew(renewed, losses_on(x, y, rng)[0])
        clean, robust = validate(measured, validation, probe, threat, seed, fabric=fabric)
        figures = Epoch(epoch, at.total / len(images), clean, robust, lr, *spent(), len(validation))
        history = (*at.history, figures)
        best = _copied(measured) if best_epoch(history) is figures else at.best
        at = keep(Position(history, best, average=at.average))
        on_epoch(figures)
        log(figures.metrics, step=epoch)
        for warning in (*idle_layers(measured, few), overfitting(history)):
            if warning and warning not in warned:
                warned.add(warning)
                on_warning(warning)
    net.load_state_dict(at.best)
    net.eval()
    return at.history


def _watch(before: tuple[float, float]) -> Callable[[], tuple[float, float]]:
    """Return a function that gives wall-clock and processor seconds from now on, added to those before."""
    clock, processor = time.perf_counter(), time.process_time()
    return lambda: (before[0] + time.perf_counter() - clock, before[1] + time.process_time() - processor)


def validate(
    net: nn.Module,
    images: Samples,
    attack: Attack | None,
    threat: Threat,
    seed: int,
    batch: int = 256,
    fabric: lightning_fabric.Fabric | None = None,
) -> tuple[float, float]:
    """Return clean and adversarial accuracy in ``[0, 1]``; the attack (or None) uses the network's own gradient."""
    team = Team(fabric)
    fresh, guide = view(net).eval(), folded(net)
    device = next(net.parameters()).device
    counts = torch.zeros(3, dtype=torch.int64, device=device)  # images, correct on clean ones, correct on both
    for x, y, index in images.take(team.share(len(images)).to(images.labels.device)).batches(batch):
        x, y = x.to(device), y.to(device)
        adv = x if attack is None else attack(guide, x, y, threat, rng=image_seeds(index.to(device), seed, "validation"))
        with torch.no_grad():
            right = fresh(x).argmax(1) == y
            counts += torch.stack([torch.ones_like(right).sum(), right.sum(), (right & (fresh(adv).argmax(1) == y)).sum()])
    every, clean, robust = team.total(counts).tolist()
    return clean / every, robust / every


def _copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
