"""Retiming: events arrive earlier or later, and nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.threats.events import EventThreat
from robustsnn.threats.samplewise import per_sample
from robustsnn.types import Noise, Threat


@dataclass(frozen=True)
class Retiming(EventThreat):
    """Move every event by at most ``eps`` time bins. The number of events per pixel and polarity stays.

    A sample is allowed if no running count leads or lags by more than ``eps`` bins, since moving events in order needs the
    smallest shifts. `best` and `project` are exact: a dynamic programme over the bins of every pixel and polarity.

    Arguments:
        eps: number of bins, a whole number.
        most: largest number of events in a bin.

    >>> x = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    >>> Retiming(1).best(torch.tensor([[0.0, 1.0, 2.0, 0.0]]), x)
    tensor([[0., 1., 1., 0.]])
    """

    eps: float = 1.0
    words: ClassVar[str] = "retiming of events"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps != round(self.eps):
            raise ValueError(f"Retiming counts whole time bins, not {self.eps:g}: round it")

    @property
    def axis(self) -> tuple[float, str]:
        return 1.0, "shift in time bins"

    @property
    def spelled(self) -> str:
        return f"retiming by {self.eps:.0f} bin{'s' * (self.eps != 1)}"

    @property
    def usual(self) -> tuple[float, ...]:
        return 1.0, 2.0

    def allowed(self, adv: Tensor, x: Tensor) -> Tensor:
        fewest, largest = self._between(_columns(x))
        count = _columns(adv).cumsum(1)
        fits = (fewest <= count) & (count <= largest)
        return fits.view(len(x), -1).all(1)

    def nearest(self, adv: Tensor, x: Tensor) -> Tensor:
        return self._placed(2 * adv, x, 1.0)

    def best(self, slope: Tensor, x: Tensor) -> Tensor:
        moves = per_sample(torch.amax, slope.abs()) > 0
        return torch.where(moves, self._placed(slope, x, 0.0), x)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Place the events by random preferences of the bins."""
        return self._placed(noise.uniform(x) + 1e-6, x, 0.0)

    def wider(self, x: Tensor) -> list[Threat]:
        return []  # however far events move, they stay at their pixel

    def _between(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smallest and the largest running counts that are allowed, ``[M, T]`` each."""
        count, steps = columns.cumsum(1), columns.shape[1]
        shift = min(int(self.eps), steps)
        place = torch.arange(steps, device=columns.device)
        fewest = torch.where(place >= shift, count[:, (place - shift).clamp_min(0)], 0)
        fewest[:, -1] = count[:, -1]
        return fewest, count[:, (place + shift).clamp_max(steps - 1)]

    def _placed(self, slope: Tensor, x: Tensor, bend: float) -> Tensor:
        """Return the allowed sample that maximises ``sum(slope * adv - bend * adv ** 2)``."""
        columns, gains = _columns(x), _columns(slope)
        moving = columns.sum(1) > 0
        placed = columns.clone()
        placed[moving] = self._best_counts(columns[moving], gains[moving], bend)
        return placed.view(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1).contiguous()

    def _best_counts(self, columns: Tensor, slope: Tensor, bend: float) -> Tensor:
        """Maximise over each row ``[M, T]`` by the largest value of every running count, bin after bin."""
        if not len(columns):
            return columns
        fewest, largest = self._between(columns)
        total = int(columns.sum(1).amax())
        count = torch.arange(total + 1, device=columns.device)
        value = torch.where(count == 0, 0.0, -torch.inf).to(slope.dtype).expand(len(columns), -1)
        chosen = []
        for step in range(columns.shape[1]):
            options = torch.stack(
                [_later(value, number) + number * slope[:, step, None] - bend * number**2 for number in range(self.most + 1)]
            )
            value, number = options.max(0)
            fits = (count >= fewest[:, step, None]) & (count <= largest[:, step, None])
            value = torch.where(fits, value, -torch.inf)
            chosen.append(number)
        left, found = columns.sum(1, keepdim=True).long(), []
        for number in reversed(chosen):
            found.append(number.gather(1, left))
            left = left - found[-1]
        return torch.cat(found[::-1], 1).to(columns.dtype)


def _later(value: Tensor, number: int) -> Tensor:
    """Shift values of running counts ``[M, K]`` by ``number`` more events."""
    if not number:
        return value
    return torch.nn.functional.pad(value, (number, 0), value=-torch.inf)[:, : value.shape[1]]


def _columns(x: Tensor) -> Tensor:
    """Reshape samples ``[N, T, ...]`` to rows of time bins: ``[M, T]``."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])
