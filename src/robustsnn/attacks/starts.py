"""Where attacks begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.balls import L2, Ball
from robustsnn.seeds import Noise

Start = Callable[[Tensor, Ball, Noise], Tensor]
"""``start(x, ball, noise)``: the first iterate."""


@dataclass(frozen=True)
class Uniform:
    """Anywhere in the ball."""

    def __call__(self, x: Tensor, ball: Ball, noise: Noise) -> Tensor:
        return ball.sample(x, noise)


@dataclass(frozen=True)
class Gaussian:
    """``x + scale * N(0, 1)``, projected."""

    scale: float = 0.001

    def __call__(self, x: Tensor, ball: Ball, noise: Noise) -> Tensor:
        return ball.project(x + self.scale * noise.normal(x), x)


@dataclass(frozen=True)
class Boundary:
    """On the ball's surface, projected: ``x + eps * r / ||r||``, ``r`` uniform in a cube (L∞) or normal (L2)."""

    def __call__(self, x: Tensor, ball: Ball, noise: Noise) -> Tensor:
        if isinstance(ball, L2):
            return ball.project(x + ball.eps * ball.direction(noise.normal(x)), x)
        r = 2 * noise.uniform(x) - 1
        return ball.project(x + ball.eps * r / largest(r.abs()), x)


def largest(values: Tensor) -> Tensor:
    """The largest of each image's values ``[N,C,H,W]``, never 0, ``[N,1,1,1]``."""
    return values.amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
