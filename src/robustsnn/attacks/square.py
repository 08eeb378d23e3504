"""The Square attack (Andriushchenko et al. 2020): random search by squares of noise, by forward passes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from robustsnn.attacks.balls import L2, Ball, Linf, Norm, ball
from robustsnn.attacks.goals import Margin, answer, begin
from robustsnn.attacks.gradient import among, at_least_one, best_of
from robustsnn.compute.sums import running_sum
from robustsnn.seeds import Noise, noise
from robustsnn.types import Classifier, Images, Judge, Labels, Randomness

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries out of 10,000 after which the squares' area halves."""


def area(query: int, queries: int, p: float) -> float:
    """The share of an image's pixels in the square of a query, counted from 0.

    >>> [area(query, 5000, 0.8) for query in (0, 5, 6, 26, 4999)]
    [0.8, 0.8, 0.4, 0.2, 0.0015625]
    """
    return p / 2.0 ** sum(query * 10_000 > mark * queries for mark in HALVINGS)


class Search(Protocol):
    """What a norm's random search does; ``chance [N, C+5]`` are uniform values, all that an image draws for a query."""

    def start(self, x: Tensor, noise: Noise) -> Tensor:
        """The first candidates ``[N,C,H,W]``."""
        ...

    def move(self, adv: Tensor, x: Tensor, p: float, chance: Tensor) -> Tensor:
        """Candidates that differ from ``adv [N,C,H,W]`` in squares of a share ``p`` of the pixels."""
        ...


@dataclass(frozen=True)
class Corners:
    """L∞ (Algorithm 2): one square, ``x + eps`` or ``x - eps`` throughout each of its channels; stripes at first."""

    eps: float

    def start(self, x: Tensor, noise: Noise) -> Tensor:
        return (x + self.eps * _signs(noise.uniform(x[:, :, :1, :]))).clamp(0, 1)

    def move(self, adv: Tensor, x: Tensor, p: float, chance: Tensor) -> Tensor:
        height, width = x.shape[2:]
        side = min(max(round(math.sqrt(p * height * width)), 1), height, width)
        square = _square(adv, side, chance[:, 0], chance[:, 1])
        moved = adv.clone()
        moved[square] = (x + self.eps * _signs(chance[:, 5:])[:, :, None, None]).clamp(0, 1)[square]
        return moved


@dataclass(frozen=True)
class Energy:
    """L2 (Algorithm 3): what one square holds of the squared norm moves to another, with all that ``eps`` has left.

    The other one's new content is its old direction and a bump (eq. 2), each of length 1, added and rescaled channel by
    channel. The start is a 5 x 5 grid of bumps.
    """

    eps: float

    def start(self, x: Tensor, noise: Noise) -> Tensor:
        (height, width), delta = x.shape[2:], torch.zeros_like(x)
        side = max(min(height, width) // 5, 1)
        rows, columns = min(5, height // side), min(5, width // side)
        signs = _signs(noise.uniform(x[:, :, :1, :1].repeat(1, 1, rows, columns)))
        tiles = torch.kron(signs, bump(side, x))
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        delta[:, :, top : top + rows * side, left : left + columns * side] = tiles
        return L2(self.eps).project(x + self.eps * L2(self.eps).direction(delta), x)

    def move(self, adv: Tensor, x: Tensor, p: float, chance: Tensor) -> Tensor:
        height, width = x.shape[2:]
        side = max(round(math.sqrt(p * height * width)), 3) // 2 * 2 + 1  # odd, so that a bump has a centre
        side = min(side, (min(height, width) + 1) // 2 * 2 - 1)
        here, there = (_square(adv, side, chance[:, i], chance[:, i + 1]) for i in (0, 2))
        delta = adv - x
        rest = delta.clone()
        rest[here] = rest[there] = 0
        unused = (self.eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_min(0)
        available = (delta.square() - rest.square()).sum((2, 3), keepdim=True) + unused / x.shape[1]
        shape = bump(side, x)
        shape = torch.where(chance[:, 4, None, None] < 0.5, shape, shape.T)[:, None]
        mixed = _signs(chance[:, 5:])[:, :, None, None] * shape + _unit(delta[here])
        rest[here] = _unit(mixed) * available.clamp_min(0).sqrt()
        return L2(self.eps).project(x + rest, x)


def bump(side: int, like: Tensor) -> Tensor:
    """Two rectangles side by side, one up and one down, each highest in its middle (eq. 2), ``[side, side]`` of length 1."""
    half = side // 2
    eta: Tensor = torch.cat([_pyramid(side, half, like), -_pyramid(side, side - half, like)], 1)
    return eta.div_(torch.linalg.vector_norm(eta))


def _pyramid(height: int, width: int, like: Tensor) -> Tensor:
    """At distance ``d`` (the larger of rows and columns) from the middle: the sum of ``1/j²``, j from d+1 to height//2 + 1."""
    row, column = (torch.arange(size, device=like.device) - size // 2 for size in (height, width))
    distance = torch.maximum(row.abs()[:, None], column.abs()[None, :])
    terms = 1 / torch.arange(1, height // 2 + 2, device=like.device, dtype=like.dtype).square()
    return running_sum(terms.flip(0), 0).flip(0)[distance]


def _square(x: Tensor, side: int, down: Tensor, right: Tensor) -> tuple[Tensor, ...]:
    """Index of one square ``[n,C,side,side]`` per image, its place given by two uniform values ``[n]``."""
    (count, channels, height, width), pixels = x.shape, torch.arange(side, device=x.device)
    top, left = (_floor(at, size - side + 1)[:, None] + pixels for at, size in ((down, height), (right, width)))
    image = torch.arange(count, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return image, channel, top[:, None, :, None], left[:, None, None, :]


def _floor(uniform: Tensor, places: int) -> Tensor:
    return (uniform * places).long().clamp_max(places - 1)


def _signs(uniform: Tensor) -> Tensor:
    return 1 - 2 * (uniform < 0.5).to(uniform.dtype)


def _unit(window: Tensor) -> Tensor:
    """Length 1 in every channel of every image, 0 where there is nothing."""
    length: Tensor = torch.linalg.vector_norm(window, dim=(2, 3), keepdim=True)
    return window / length.clamp_min(torch.finfo(window.dtype).tiny)


@dataclass(frozen=True)
class Square:
    """Random search: squares of noise are kept where they lower the margin ``z_y - max_{i != y} z_i``.

    A broken image costs nothing more: one that the judge calls broken or, without a judge, one that the model misclassifies.

    Arguments:
        eps: radius of the ball.
        queries: forward passes per image and restart.
        p: share of the pixels in the first square, in (0, 1]; it halves along `HALVINGS`.
        norm: which ball.
        restarts: independent searches; the lowest margin is kept, image by image.

    Raises:
        ValueError: an ``eps`` that is negative or not finite, an unknown norm, a count below 1, or ``p`` out of range.
    """

    eps: float = 8 / 255
    queries: int = 5000
    p: float = 0.8
    norm: Norm = "Linf"
    restarts: int = 1

    def __post_init__(self) -> None:
        ball(self.norm, self.eps)
        at_least_one(self, query=self.queries, restart=self.restarts)
        if not 0 < self.p <= 1:
            raise ValueError(f"p is the share of the pixels in the first square, in (0, 1], not {self.p}")

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return ball(self.norm, self.eps)

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        x, draw = x.detach(), noise(rng)

        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            with torch.no_grad():
                return self._search(model, x, y, chosen, draw, judge)

        return best_of([run] * self.restarts, model, x, Margin().on(model, x, y), judge)

    def _search(self, model: Classifier, x: Tensor, y: Tensor, chosen: Tensor, draw: Noise, judge: Judge | None) -> Tensor:
        """One search on the images ``chosen``. All images draw, so that nobody's noise depends on who else is left."""
        search: Search = Corners(self.eps) if isinstance(self.ball, Linf) else Energy(self.eps)
        start, blank = search.start(x, draw)[chosen], x.new_empty(len(x), x.shape[1] + 5)
        clean, adv, alive = x[chosen], x[chosen], torch.arange(len(chosen), device=x.device)
        worth = among(Margin().on(model, x, y), chosen)
        highest = torch.full_like(adv[:, 0, 0, 0], -torch.inf)
        begin(model, len(chosen))
        for query in range(-1, self.queries):  # the clean image is no query
            if not len(alive):
                break
            if query < 1:
                candidate = (adv if query < 0 else start)[alive]
            else:
                chance = draw.uniform(blank)[chosen[alive]]
                candidate = search.move(adv[alive], clean[alive], area(query, self.queries, self.p), chance)
            logits = answer(model, candidate, alive)
            margin = worth(logits, alive).to(highest.dtype)
            better = ((margin > highest[alive]) | (query == 0)).nonzero().flatten()
            if not len(better):
                continue
            kept, index = candidate[better], alive[better]
            adv[index], highest[index] = kept, margin[better]
            wrong = logits[better].argmax(1) != y[chosen[index]] if judge is None else judge(kept, index)
            lives = torch.ones_like(alive, dtype=torch.bool)
            lives[better] = ~wrong
            alive = alive[lives]
        return adv
