"""The training state on disk: the last three states, so that a damaged file costs only a few steps."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from robustsnn.files import digest, read_tensors, write_tensors
from robustsnn.history import Epoch, read_history
from robustsnn.spiking import SpikingNetwork

KEPT = 3
"""Number of states on disk: ``x.state`` and the previous ``x.state.1`` and ``x.state.2``."""
STAYS = ("name", "data", "ann", "model", "evaluation")
"""Parts of a recipe that do not depend on how a network was trained."""


def retrained(net: nn.Module) -> None:
    """Reduce the recipe that a network was loaded with to the parts that stay true when its weights change."""
    if isinstance(net, SpikingNetwork):
        net.recipe = {key: value for key, value in net.recipe.items() if key in STAYS}


@dataclass(frozen=True)
class Position:
    """The progress of a training.

    Arguments:
        history: the epochs so far.
        best: weights of the best epoch; empty before the first epoch ends.
        step: finished batches of the current epoch.
        total: sum of their losses over all images.
        rng: state of the epoch's generator; None before the first step.
        spent: wall-clock and processor seconds of the current epoch before an interruption.
        average: averaged parameters; empty without averaging.
    """

    history: tuple[Epoch, ...]
    best: dict[str, Tensor]
    step: int = 0
    total: float = 0.0
    rng: Tensor | None = None
    spent: tuple[float, float] = (0.0, 0.0)
    average: dict[str, Tensor] = field(default_factory=dict)


def states(path: Path) -> list[Path]:
    """Return the files that hold the states of a training, newest first."""
    return [path, *(path.with_name(f"{path.name}.{age}") for age in range(1, KEPT))]


def remove_states(path: Path) -> None:
    """Remove the states of a finished training."""
    for state in states(path):
        state.unlink(missing_ok=True)


@dataclass(frozen=True)
class Keeper:
    """Saves and restores the state of one training.

    Arguments:
        path: file of the newest state; None disables saving.
        what: identifies the training; the state of another training is rejected.
        net, optimizer: restored in place.
        say: called with a message about an unusable state.
    """

    path: Path | None
    what: str
    net: nn.Module
    optimizer: torch.optim.Optimizer
    say: Callable[[str], None]

    def keep(self, at: Position) -> None:
        """Write the state and rename the previous ones.

        Raises:
            ValueError: the state cannot be written; the previous ones are kept.
        """
        if self.path is None:
            return
        momenta = {str(i): self.optimizer.state[p].get("momentum_buffer") for i, p in enumerate(self.net.parameters())}
        parts = {"net": self.net.state_dict(), "best": at.best, "average": at.average, "momentum": momenta}
        held = {f"{head}.{name}": tensor for head, part in parts.items() for name, tensor in part.items()} | {"rng": at.rng}
        tensors = {name: tensor for name, tensor in held.items() if tensor is not None}
        history, spent = json.dumps([asdict(epoch) for epoch in at.history]), json.dumps(at.spent)
        texts = {"what": self.what, "history": history, "step": str(at.step), "total": at.total.hex(), "spent": spent}
        for younger, older in reversed(list(pairwise(states(self.path)))):
            if younger.exists():
                younger.replace(older)
        write_tensors(self.path, tensors, {**texts, "digest": _digest(tensors, texts)})

    def resume(self) -> Position | None:
        """Restore the newest undamaged state.

        Raises:
            ValueError: all states are damaged, or they belong to another training.
        """
        found = [state for state in (states(self.path) if self.path else []) if state.exists()]
        for state in found:
            try:
                return self._restore(state)
            except _Damaged as error:
                self.say(f"{error}: continuing from the previous state")
        if found:
            raise ValueError(f"no undamaged training state at {found[0]}: remove it to train from the beginning")
        return None

    def _restore(self, path: Path) -> Position:
        try:
            tensors, texts = read_tensors(path)
        except ValueError as error:
            raise _Damaged(str(error)) from None
        if texts.pop("digest", "") != _digest(tensors, texts):
            raise _Damaged(f"{path} is damaged")
        if texts["what"] != self.what:
            raise ValueError(
                f"{path} is the state of a training with other settings or images: use those again, choose another folder, "
                f"or remove {path}* to start again"
            )
        history = read_history(json.loads(texts["history"]), path)
        rng, parts = tensors.pop("rng", None), defaultdict[str, dict[str, Tensor]](dict)
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            parts[head][rest] = tensor
        self.net.load_state_dict(parts["net"])
        for i, parameter in enumerate(self.net.parameters()):
            if str(i) in parts["momentum"]:
                self.optimizer.state[parameter]["momentum_buffer"] = parts["momentum"][str(i)].to(parameter.device)
        total, (clock, processor) = float.fromhex(texts["total"]), json.loads(texts["spent"])
        return Position(history, parts["best"], int(texts["step"]), total, rng, (clock, processor), parts["average"])


class _Damaged(Exception):
    """A state that cannot be read."""


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    """Return a digest of everything that a state holds, texts included."""
    written = json.dumps(texts, sort_keys=True).encode()
    return digest({**tensors, "texts": torch.frombuffer(bytearray(written), dtype=torch.uint8)})
