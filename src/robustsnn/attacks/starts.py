"""Starting points of attacks."""

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
    """A random point within the ball."""

    def __call__(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        return threat.sample(x, noise)


@dataclass(frozen=True)
class Gaussian:
    """``x + scale * N(0, 1)``, projected onto the threat."""

    scale: float = 0.001

    def __call__(self, x: Tensor, threat: Threat, noise: Noise) -> Tensor:
        return threat.project(x + self.scale * noise.normal(x), x)


@dataclass(frozen=True)
class Boundary:
    """A point on the ball's surface, projected: ``x + eps * r / ||r||`` with ``r`` uniform in the unit ball."""

    def __call__(self, x: Tensor, threat: Ball, noise: Noise) -> Tensor:
        r = threat.random(x, noise)
        return threat.project(x + threat.eps * r / positive(threat.length(r)), x)
