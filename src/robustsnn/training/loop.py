"""One training loop for ANN and SNN: SGD, cosine schedule, best epoch by robust validation accuracy, resumable by epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from robustsnn.attacks import PGD
from robustsnn.conversion import folded
from robustsnn.data import Augment, Images
from robustsnn.files import digest, read_tensors, write_tensors
from robustsnn.seeds import generator, image_seeds
from robustsnn.spiking import rewire
from robustsnn.spiking.layout import layout
from robustsnn.training.engine import Loss, cpu, randomness
from robustsnn.training.objectives import passes
from robustsnn.types import Attack, Objective


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: SGD with momentum, learning rate by a cosine from ``lr`` to 0 over the epochs.

    Raises:
        ValueError: a value outside its range.
    """

    epochs: int = 200
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"epochs and batch must be at least 1, not {self.epochs} and {self.batch}")
        if not (0 < self.lr < math.inf and 0 <= self.momentum < 1 and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                "lr must be > 0, momentum in [0, 1) and weight_decay >= 0, not "
                f"{self.lr}, {self.momentum}, {self.weight_decay}"
            )

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss, and accuracies in ``[0, 1]`` on the validation images."""

    epoch: int
    loss: float
    clean: float
    robust: float
    lr: float
    seconds: float


AfterStep = Callable[[nn.Module], None]
"""Acts on a network's parameters after an optimiser step."""


Stop = Callable[[Sequence["Epoch"]], bool]
"""Whether training should end after the epochs so far."""


@dataclass(frozen=True)
class CatastrophicOverfitting:
    """Stop once robust validation accuracy has fallen by more than ``drop`` below its best (Wong et al. 2020)."""

    drop: float = 0.2

    def __call__(self, history: Sequence[Epoch]) -> bool:
        return history[-1].robust < best_epoch(history).robust - self.drop


STOPS: dict[str, Callable[..., Stop]] = {"CatastrophicOverfitting": CatastrophicOverfitting}


def train(
    net: nn.Module,
    images: Images,
    validation: Images,
    objective: Objective,
    schedule: Schedule = Schedule(),
    *,
    probe: Attack | None = PGD(2 / 255, 10),
    augment: Augment = Augment(),
    after_step: Sequence[AfterStep] = (),
    stop: Stop = lambda history: False,
    seed: int = 0,
    fabric: Fabric | None = None,
    state: Path | None = None,
    on_step: Callable[[int, int], None] = lambda epoch, step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[Epoch, ...]:
    """Train a network in place; it ends with the weights of its best epoch, in eval mode.

    Arguments:
        net: an ANN or a `SpikingNetwork`; all its parameters, thresholds included, are trained.
        images, validation: disjoint sets; the second one chooses the epoch, by accuracy under ``probe``, then clean.
        objective: for example ``Trades(beta=6)``.
        probe: the attack of validation, from the same random starts every epoch; None chooses by clean accuracy.
        after_step: what acts on parameters after every optimiser step.
        stop: asked after every epoch whether to end early, for example ``CatastrophicOverfitting()``.
        seed: of order, augmentation and inner attacks; every epoch draws afresh from (seed, epoch).
        fabric: where to run; one CPU process if None.
        state: a file that keeps the training state after every epoch; if it is there, training continues from it.
        on_step, on_epoch: told of progress.

    Returns:
        Every epoch's figures.

    Raises:
        ValueError: no images, or a state file of another training.
        FloatingPointError: a loss that is not finite.
    """
    if not len(images) or not len(validation):
        raise ValueError("training needs images to learn from and images to validate on")
    fabric = fabric or cpu()
    images, validation = images.to(fabric.device), validation.to(fabric.device)
    memory_format = layout(net)
    optimizer = torch.optim.SGD(net.parameters(), schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
    loss_of, optimizer = fabric.setup(Loss(net), optimizer)
    what = repr((objective, schedule, probe, augment, after_step, seed, len(images), digest(net.state_dict())))
    keeper = _Keeper(state, what, net, optimizer)
    history, best = keeper.resume()
    for epoch in range(len(history), schedule.epochs):
        if history and stop(history):
            break
        started, total, lr = time.perf_counter(), 0.0, schedule.rate(epoch)
        for group in optimizer.param_groups:
            group["lr"] = lr
        net.train()
        rng = generator(seed, "epoch", epoch)
        for step, (x, y, index) in enumerate(images.batches(schedule.batch, rng)):
            x = augment(x, rng).contiguous(memory_format=memory_format)
            losses = []
            for loss_on in passes(objective, x, y, rng):
                optimizer.zero_grad()
                with randomness(seed, "dropout", epoch, step):
                    loss = loss_of(loss_on)
                    fabric.backward(loss)
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(
                        f"the loss became {losses[-1]} at epoch {epoch}, step {step}: lower the learning rate (now {lr:.4g})"
                    )
                optimizer.step()
                for act in after_step:
                    act(net)
            total += sum(losses) / len(losses) * len(index)
            on_step(epoch, step)
        clean, robust = validate(net, validation, probe, seed)
        figures = Epoch(epoch, total / len(images), clean, robust, lr, time.perf_counter() - started)
        history = (*history, figures)
        if best is None or best_epoch(history) is figures:
            best = _copied(net)
        keeper.keep(history, best)
        on_epoch(figures)
    assert best is not None
    net.load_state_dict(best)
    net.eval()
    return history


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch whose weights training keeps: the first of the best by robust, then clean validation accuracy."""
    return max(history, key=lambda e: (e.robust, e.clean))


def validate(net: nn.Module, images: Images, attack: Attack | None, seed: int, batch: int = 256) -> tuple[float, float]:
    """Accuracy on clean images and under an attack (None: none) through the network's own gradient, in ``[0, 1]``."""
    view, guide = rewire(net, lambda _, __: None).eval(), folded(net)
    device = next(net.parameters()).device
    clean = robust = 0
    for x, y, index in images.batches(batch):
        x, y = x.to(device), y.to(device)
        adv = x if attack is None else attack(guide, x, y, rng=image_seeds(index, seed, "validation"))
        with torch.no_grad():
            right = view(x).argmax(1) == y
            clean += int(right.sum())
            robust += int((right & (view(adv).argmax(1) == y)).sum())
    return clean / len(images), robust / len(images)


def _copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


class _Keeper:
    """The training state on disk: weights, momentum, the best weights, and the figures so far."""

    def __init__(self, path: Path | None, what: str, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path, self.what, self.net, self.optimizer = path, what, net, optimizer

    def keep(self, history: Sequence[Epoch], best: dict[str, Tensor]) -> None:
        if self.path is None:
            return
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
        for i, parameter in enumerate(self.net.parameters()):
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{i}"] = momentum
        write_tensors(self.path, tensors, {"what": self.what, "history": json.dumps([asdict(e) for e in history])})

    def resume(self) -> tuple[tuple[Epoch, ...], dict[str, Tensor] | None]:
        if self.path is None or not self.path.exists():
            return (), None
        tensors, texts = read_tensors(self.path)
        if texts.get("what") != self.what:
            raise ValueError(f"{self.path} is the state of another training: remove it or choose another folder")
        part = {head: _under(tensors, head) for head in ("net.", "best.", "momentum.")}
        self.net.load_state_dict(part["net."])
        for i, parameter in enumerate(self.net.parameters()):
            if str(i) in part["momentum."]:
                self.optimizer.state[parameter]["momentum_buffer"] = part["momentum."][str(i)].to(parameter.device)
        return tuple(Epoch(**e) for e in json.loads(texts["history"])), part["best."]


def _under(tensors: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    return {name.removeprefix(head): tensor for name, tensor in tensors.items() if name.startswith(head)}
