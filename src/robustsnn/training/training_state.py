"""The training state on disk: the last three, each whole, so that one that is damaged costs a few steps and no more."""

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

KEPT = 3
"""States on disk: ``x.state``, and the ones before it, ``x.state.1`` and ``x.state.2``."""


@dataclass(frozen=True)
class Position:
    """Where training stands.

    Arguments:
        history: the epochs so far.
        best: the weights of the best of them; empty before the first ends.
        step: batches of the epoch under way that are done.
        total: the sum of their losses, image by image.
        rng: state of the epoch's generator; empty where no step is done.
        spent: seconds of the clock and of the processor that the epoch took before it was interrupted.
        average: the averaged parameters; empty where training averages none.
    """

    history: tuple[Epoch, ...]
    best: dict[str, Tensor]
    step: int = 0
    total: float = 0.0
    rng: Tensor | None = None
    spent: tuple[float, float] = (0.0, 0.0)
    average: dict[str, Tensor] = field(default_factory=dict)


def states(path: Path) -> list[Path]:
    """Where the states of a training are kept, the newest first."""
    return [path, *(path.with_name(f"{path.name}.{age}") for age in range(1, KEPT))]


def remove_states(path: Path) -> None:
    """Remove them: the training is done."""
    for state in states(path):
        state.unlink(missing_ok=True)


@dataclass(frozen=True)
class Keeper:
    """Keeps and restores one training.

    Arguments:
        path: the newest state; None keeps nothing.
        what: which training it is; a state of another one is refused.
        net, optimizer: what is restored in place.
        say: told of a state that cannot be used.
    """

    path: Path | None
    what: str
    net: nn.Module
    optimizer: torch.optim.Optimizer
    say: Callable[[str], None]

    def keep(self, at: Position) -> None:
        """Write the state, and let the ones before it age.

        Raises:
            ValueError: it cannot be written; the ones before are still there.
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
        """Restore the newest state that is whole.

        Raises:
            ValueError: there are states, but none is whole, or they are of another training.
        """
        found = [state for state in (states(self.path) if self.path else []) if state.exists()]
        for state in found:
            try:
                return self._restore(state)
            except _Damaged as error:
                self.say(f"{error}: continuing from the one before it")
        if found:
            raise ValueError(f"no whole training state at {found[0]}: remove it to train from the beginning")
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
                f"{path} is the state of a training with other settings or images: give those again, choose another folder, "
                f"or remove {path}* to begin anew"
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
    """Of all that a state holds: a changed digit of a step is as bad as one of a weight."""
    written = json.dumps(texts, sort_keys=True).encode()
    return digest({**tensors, "texts": torch.frombuffer(bytearray(written), dtype=torch.uint8)})
