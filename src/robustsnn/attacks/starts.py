"""Where attacks begin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustsnn.threats import Ball, positive
from robustsnn.types import Noise, Threat

Start = Callable[[Tensor, Any, Noise], Tensor]
"""``start(x, threat, noise)``: the first iterate."""


@dataclass(frozen=True)
class Uniform:
    """Anywhere in the ball."""

    def __call__(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        return threat.sample(x, noise)


@dataclass(frozen=True)
class Gaussian:
    """``x + scale * N(0, 1)``, projected."""

    scale: float = 0.001

    def __call__(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        return threat.project(x + self.scale * noise.normal(x), x)


@dataclass(frozen=True)
class Boundary:
    """On the ball's surface, projected: ``x + eps * r / ||r||``, ``r`` uniform in the ball of radius 1."""

    def __call__(self, x: Tensor, threat: Ball, noise: Noise) -> Tensor:
        r = threat.random(x, noise)
        return threat.project(x + threat.eps * r / positive(threat.length(r)), x)
