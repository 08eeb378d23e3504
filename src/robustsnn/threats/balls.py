"""Norm balls around samples, intersected with the pixel box ``[0, 1]``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.threats.samplewise import per_sample, positive, spread
from robustsnn.types import Noise, Threat

TOLERANCE = 1e-6
"""How far rounding may move a sample outside the ball or the box."""


@dataclass(frozen=True)
class Ball(ABC):
    """All samples in the box at a distance of at most ``eps``; subclasses define the norm.

    A norm defines `length`, `random` and `direction`; see `Threat` for the other members. All methods act on each sample of
    ``[N, ...]`` separately.

    Arguments:
        eps: radius, in units of the samples' values.

    Raises:
        ValueError: ``eps`` is negative or not finite.
    """

    eps: float
    box: ClassVar[tuple[float, float]] = (0.0, 1.0)
    words: ClassVar[str] = "norm ball, pixels in [0, 1]"
    axis: ClassVar[tuple[float, str]] = (1.0, "ε")

    @property
    def takes(self) -> str:
        return "in [0, 1]"

    @property
    def usual(self) -> tuple[float, ...]:
        return (self.eps,)

    def __post_init__(self) -> None:
        if not isinstance(self.eps, int | float) or not 0 <= self.eps < math.inf:
            raise ValueError(f"eps must be finite and at least 0, not {self.eps!r}; pixels are in [0, 1]")

    @property
    def spelled(self) -> str:
        return f"{type(self).__name__} {self.eps:.3g}"

    def scaled(self, eps: float) -> Ball:
        return replace(self, eps=eps)

    def wider(self, x: Tensor) -> list[Threat]:
        radii = [levels / 255 * self.widest(x) for levels in (16, 32, 64, 128, 255)]
        return [self.scaled(radius) for radius in radii if radius > self.eps]

    def widest(self, x: Tensor) -> float:
        """Return the radius that allows every change, for samples like ``x``."""
        low, high = self.box
        return float(self.length(torch.full_like(x[:1], high - low)))

    def boxed(self, adv: Tensor) -> Tensor:
        """Clip samples to the box."""
        return adv.clamp(*self.box)

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        delta = adv - x
        inside = self.length(delta) <= self.eps + TOLERANCE
        return self.boxed(torch.where(inside, adv, x + self.shorten(delta, self.eps)))

    def contains(self, adv: Tensor, x: Tensor) -> Tensor:
        near = self.length(adv - x).flatten() <= self.eps + TOLERANCE
        return near & ((adv - self.boxed(adv)).abs() <= TOLERANCE).flatten(1).all(1)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Draw a random allowed sample: uniform in the ball, then clipped to the box."""
        return self.project(x + self.eps * self.random(x, noise), x)

    def shorten(self, delta: Tensor, most: float) -> Tensor:
        """Rescale steps ``delta [N, ...]`` longer than ``most`` to that length; keep shorter ones."""
        return delta * (most / positive(self.length(delta))).clamp(max=1)

    @abstractmethod
    def length(self, delta: Tensor) -> Tensor:
        """Return the norm of each sample of ``delta [N, ...]``, as ``[N, 1, ..., 1]``."""

    @abstractmethod
    def random(self, x: Tensor, noise: Noise) -> Tensor:
        """Draw values of the shape of ``x``, uniform in the ball of radius 1."""

    @abstractmethod
    def direction(self, grad: Tensor) -> Tensor:
        """Return the steepest ascent step of length 1 along ``grad``, 0 if the gradient is zero."""


@dataclass(frozen=True)
class Linf(Ball):
    """``|adv - x| <= eps`` in every value.

    Raises:
        ValueError: ``eps`` is outside ``[0, 1]``, the range of pixels.

    >>> Linf(8 / 255).spelled, Linf(0.01).spelled, Linf(0.2).spelled
    ('8/255', '0.01', '0.2')
    """

    eps: float = 8 / 255
    words: ClassVar[str] = "L-infinity, pixels in [0, 1]"
    axis: ClassVar[tuple[float, str]] = (255.0, "ε in 1/255")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps > 1:
            raise ValueError(f"eps must be at most 1, since pixels are in [0, 1], not {self.eps:g}: write {self.eps:g}/255?")

    @property
    def spelled(self) -> str:
        levels, short = self.eps * 255, f"{self.eps:.3g}"
        whole = math.isclose(levels, round(levels), rel_tol=1e-6) and float(short) != self.eps
        return f"{round(levels)}/255" if whole else short

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        return self.boxed(torch.clamp(adv, x - self.eps, x + self.eps))

    def shorten(self, delta: Tensor, most: float) -> Tensor:
        return delta.clamp(-most, most)

    def length(self, delta: Tensor) -> Tensor:
        return per_sample(torch.amax, delta.abs())

    def random(self, x: Tensor, noise: Noise) -> Tensor:
        return 2 * noise.uniform(x) - 1

    def direction(self, grad: Tensor) -> Tensor:
        return grad.sign()


@dataclass(frozen=True)
class FrameLinf(Linf):
    """`Linf` on frames of event counts, which become real numbers. Common in papers, but no event camera can do it.

    >>> FrameLinf(0.1).spelled
    'frames 0.1'
    """

    eps: float = 0.1
    words: ClassVar[str] = "L-infinity on event frames, as real numbers in [0, 1]: no camera can do it"
    axis: ClassVar[tuple[float, str]] = (1.0, "ε")

    @property
    def spelled(self) -> str:
        return f"frames {self.eps:.3g}"


@dataclass(frozen=True)
class L2(Ball):
    """``||adv - x||_2 <= eps`` over all values of a sample.

    >>> L2(0.5).spelled
    'L2 0.5'
    """

    eps: float = 0.5
    words: ClassVar[str] = "L2, pixels in [0, 1]"

    def length(self, delta: Tensor) -> Tensor:
        scale = positive(per_sample(torch.amax, delta.abs()))  # squares of small values would underflow to 0
        return per_sample(torch.linalg.vector_norm, delta / scale) * scale

    def random(self, x: Tensor, noise: Noise) -> Tensor:
        outward = self.direction(noise.normal(x))
        share = noise.uniform(per_sample(torch.amax, x)) if len(x) else 1.0
        return outward * share ** (1 / max(1, x[:1].numel()))

    def direction(self, grad: Tensor) -> Tensor:
        return grad / positive(self.length(grad))


@dataclass(frozen=True)
class L1(Ball):
    """``sum |adv - x| <= eps`` over all values of a sample: a few values may change a lot.

    A unit step is spread over the 5 % of the values with the largest gradient (SLIDE, Tramer & Boneh 2019). A step in the
    single largest value would be steeper, but such attacks soon hit the box.

    >>> L1(12).spelled
    'L1 12'
    """

    eps: float = 12.0
    words: ClassVar[str] = "L1, pixels in [0, 1]"

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """Project onto the ball (Duchi et al. 2008), then onto the box."""
        delta = adv - x
        inside = self.length(delta) <= self.eps + TOLERANCE
        falling = delta.abs().flatten(1).sort(1, descending=True).values
        count = torch.arange(1, falling.shape[1] + 1, device=x.device)
        excess = (falling.cumsum(1) - self.eps * (1 - 1e-5)) / count  # slightly inside: rounding errors accumulate
        last = (falling > excess).sum(1, keepdim=True).clamp_min(1) - 1
        cut = spread(excess.gather(1, last).flatten(), x)
        nearest = x + delta.sign() * (delta.abs() - cut).clamp_min(0)
        return self.boxed(torch.where(inside, adv, nearest))

    def length(self, delta: Tensor) -> Tensor:
        return per_sample(torch.sum, delta.abs())

    def random(self, x: Tensor, noise: Noise) -> Tensor:
        sizes = -torch.log1p(-noise.uniform(x))
        rest = -torch.log1p(-noise.uniform(per_sample(torch.amax, x))) if len(x) else 1.0
        return sizes * (2 * noise.uniform(x) - 1).sign() / positive(self.length(sizes) + rest)

    def direction(self, grad: Tensor) -> Tensor:
        sizes = grad.abs().flatten(1)
        least = sizes.topk(-(-sizes.shape[1] // 20), 1).values[:, -1]
        steep = grad.sign() * (grad.abs() >= spread(least, grad))
        return steep / positive(self.length(steep))
