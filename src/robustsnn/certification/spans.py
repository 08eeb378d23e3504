"""The effect of a threat on the currents of the first neurons, which depend linearly on the input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustsnn.certification.boxes import Box
from robustsnn.certification.firing import Rows, times_of
from robustsnn.threats import L2
from robustsnn.threats.flips import Flips
from robustsnn.types import Threat

LINEAR = (L2, Flips)
"""Threats whose effect on a sum of many inputs is known exactly, and larger on each input alone."""
LARGEST = 2**24
"""Largest number of effects of single flips to hold at once."""


@dataclass(frozen=True)
class Span:
    """Samples under a threat in `LINEAR`, as the first neurons see them.

    Arguments:
        x: the inputs of T steps ``[T, N, ...]``; T is 1 if it is the same at every step.
        threat: the allowed changes, of all steps together.
        rows: of the boxes; None if the input is the same at every step.
        slack: of the boxes.
    """

    x: Tensor
    threat: Threat
    rows: Rows | None
    steps: int
    slack: float

    @property
    def basis(self) -> Tensor:
        """Inputs from which a linear map is read: zero, and every value alone, ``[1+D, ...]``."""
        size = self.x[0, 0].numel()
        values = torch.cat([self.x.new_zeros(1, size), torch.eye(size, dtype=self.x.dtype, device=self.x.device)])
        return values.view(-1, *self.x.shape[2:])

    def box(self, seen: Tensor) -> Box:
        """Return the box of currents, given what the neurons receive for the `basis`, ``[1+D, ...]``."""
        shift, matrix = seen[0], (seen[1:] - seen[:1]).flatten(1)
        x = self.x.flatten(2)
        center = x @ matrix
        down, up = (self._reach(x, matrix, sign) for sign in (-1, 1))
        times = self.x.new_ones(1) if self.rows is None else times_of(self.rows, len(center), self.x)
        center = self._rows(center, center.cumsum(0))
        found = Box.between((center - down).flatten(0, 1), (center + up).flatten(0, 1), times, self.slack)
        found = found.reshaped(lambda values: values.view(-1, *shift.shape))
        if self.slack:  # products of the input with the matrix
            size = (x.abs().sum(0) + 1) @ matrix.abs()
            more = self.slack * size.repeat(len(times), 1).view_as(found.center)
            found = replace(found, radius=found.radius + more)
        return found.shifted(shift)

    def _reach(self, x: Tensor, matrix: Tensor, sign: int) -> Tensor:
        """Return how far the sum of each row can rise, or fall, ``[R, N, J]``."""
        if isinstance(self.threat, L2):
            length = (self.threat.eps * matrix.norm(dim=0)).expand(len(x), x.shape[1], -1)
            grown = torch.arange(1, len(x) + 1).to(x).sqrt().view(-1, 1, 1)
            return self._rows(length, length * grown)
        assert isinstance(self.threat, Flips)
        budget = self.threat.budget(x.transpose(0, 1).flatten(1))
        width = max(1, LARGEST // max(1, x[0].numel()))
        parts = [_flipped(x, columns, budget) for columns in (sign * matrix).split(width, dim=1)]
        return self._rows(*(torch.cat(each, 2) for each in zip(*parts, strict=True)))

    def _rows(self, single: Tensor, running: Tensor) -> Tensor:
        """Return the rows of single steps and of running sums that boxes keep."""
        if self.rows is None:
            return single
        return {"total": running[-1:], "counts": running, "both": torch.cat([single, running]), "steps": single}[self.rows]


def _flipped(x: Tensor, matrix: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far flips of bits ``x [T, N, D]`` can raise sums, of single steps and of all steps so far, ``[T, N, J]``."""
    most, single, running = int(budget.max()) if len(budget) else 0, list[Tensor](), list[Tensor]()
    kept = x.new_zeros(x.shape[1], 0, matrix.shape[1])
    for step in x:
        gain = (1 - 2 * step)[..., None] * matrix
        best = gain.topk(min(most, gain.shape[1]), dim=1).values.clamp_min(0)
        kept = torch.cat([kept, best], 1)
        kept = kept.topk(min(most, kept.shape[1]), dim=1).values
        for sums, values in ((single, best), (running, kept)):
            allowed = torch.arange(values.shape[1], device=x.device) < budget[:, None]
            sums.append((values * allowed[..., None]).sum(1))
    return torch.stack(single), torch.stack(running)
