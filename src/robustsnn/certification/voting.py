"""Votes of a network on noisy copies of samples: counted draw by draw, resumable, the same in any order and batch size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.certification.task import ABSTAINS, Task
from robustsnn.files import read_sealed, write_sealed
from robustsnn.seeds import image_seeds, noise
from robustsnn.types import Noise

Disturb = Callable[[Tensor, Noise], Tensor]
"""``disturb(x [n, ...], noise) -> [n, ...]``: a noisy copy of every sample."""

SECONDS = 2.0
"""Seconds between writes of the state; after a kill at most this much work is repeated."""


@dataclass(frozen=True)
class Votes:
    """Votes per sample and class, ``[N,K]``: of the draws that choose a class, and of those that bound its probability."""

    first: Tensor
    counted: Tensor

    @property
    def chosen(self) -> Tensor:
        """The class with the most first votes, ``[N]``."""
        return self.first.argmax(1)

    @property
    def hits(self) -> Tensor:
        """Votes for the chosen class among those that bound its probability, ``[N]``."""
        return self.counted.gather(1, self.chosen[:, None])[:, 0]


@torch.no_grad()
def votes(net: nn.Module, x: Tensor, ids: Tensor, disturb: Disturb, draws: range, *purpose: int | str) -> Tensor:
    """Return how often a network chooses each class on noisy copies of samples, ``[n,K]``. NaN logits choose none.

    The noise of a draw depends only on the sample's id, the purpose and the draw's number.

    Arguments:
        x: samples ``[n, ...]``.
        ids: their ids ``[n]``.
        disturb: adds the noise.
        draws: numbers of the draws, all of which run in one batch.
        purpose: of the noise, see `image_seeds`.
    """
    seeds = torch.cat([image_seeds(ids, *purpose, draw) for draw in draws])
    logits = net(disturb(x.repeat(len(draws), *[1] * (x.dim() - 1)), noise(seeds)))
    chosen = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1])
    counted: Tensor = chosen * ~logits.isnan().any(1, keepdim=True)
    return counted.view(len(draws), len(x), -1).sum(0)


def poll(task: Task, disturb: Disturb, first: int, draws: int) -> Votes:
    """Count the votes of all samples: ``first`` draws that choose a class, then ``draws`` others. All processes return all."""
    x, _, _ = task.samples(torch.arange(1))
    with torch.no_grad():
        classes = task.net(x).shape[1]
    count, total = len(task.data), first + draws
    found = {name: torch.zeros(count, classes, dtype=torch.int64) for name in ("first", "counted")}
    found["done"] = torch.zeros(count, dtype=torch.int64)
    if task.state is not None and task.state.exists():
        found, _ = read_sealed(task.state, task.key, "certification")
    done, mine, written = found["done"], task.mine, time.monotonic()
    while len(left := mine[done[mine] < total]):
        at = int(done[left].max())  # those that an interruption left behind the others come last
        index = left[done[left] == at][: task.batch]
        until = first if at < first else total
        many = min(max(1, task.batch // len(index)), until - at)
        x, _, ids = task.samples(index)
        added = votes(task.net, x, ids, disturb, range(at, at + many), task.seed, "smoothing")
        found["first" if at < first else "counted"][index] += added.cpu()
        done[index] += many
        if task.state is not None and time.monotonic() - written >= SECONDS:
            write_sealed(task.state, found, {"key": task.key})
            written = time.monotonic()
        task.on_progress("smoothing", float(done[mine].sum()) / (total * len(mine)))
    if task.state is not None:
        write_sealed(task.state, found, {"key": task.key})
    return Votes(task.team.merge(found["first"]), task.team.merge(found["counted"]))


def lower_bound(hits: Tensor, draws: int, alpha: float) -> Tensor:
    """Return the one-sided Clopper-Pearson bound on a probability: it exceeds the true one with probability ``alpha`` at most.

    Arguments:
        hits: successes ``[...]`` of ``draws`` independent trials each.

    Returns:
        float64 ``[...]``; 0 without a success.

    >>> lower_bound(torch.tensor([0, 50, 100]), 100, 0.05)
    tensor([0.0000, 0.4136, 0.9705], dtype=torch.float64)
    """
    from scipy.stats import beta  # takes a second to import; many commands do not need it

    k = hits.cpu().numpy()
    found = np.where(k > 0, beta.ppf(alpha, np.maximum(k, 1), draws - k + 1), 0.0)
    return torch.from_numpy(found)


def elected(chosen: Tensor, lower: Tensor) -> Tensor:
    """Return the predicted classes ``[N]``: the chosen one where its probability exceeds 1/2, otherwise `ABSTAINS`."""
    return torch.where(lower > 0.5, chosen, ABSTAINS)
