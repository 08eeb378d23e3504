"""The Square attack (Andriushchenko et al. 2020): random search with square patches, using forward passes only."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.goals import GIVES_UP, Losses, Margin, answer, begin, hopeless
from robustsnn.attacks.own import OwnAttack, Task, among, best_of
from robustsnn.compute.sums import running_sum
from robustsnn.ranges import Count, Range, Share
from robustsnn.threats import L2, Linf, positive
from robustsnn.types import Judge, Kinds, Noise

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, out of 10,000, after which the area of the squares halves."""


def area(query: int, queries: int, p: float) -> float:
    """Return the fraction of an image's pixels in the square of a query, counted from 0.

    >>> [area(query, 5000, 0.8) for query in (0, 5, 6, 26, 4999)]
    [0.8, 0.8, 0.4, 0.2, 0.0015625]
    """
    return p / 2.0 ** sum(query * 10_000 > mark * queries for mark in HALVINGS)


@dataclass(frozen=True)
class Corners:
    """L-infinity (Algorithm 2): each channel of one square becomes ``x + eps`` or ``x - eps``; the start is stripes."""

    threat: Linf

    def start(self, x: Tensor, noise: Noise) -> Tensor:
        """Return the first candidates ``[N,C,H,W]``."""
        return self.threat.project(x + self.threat.eps * _signs(noise.uniform(x[:, :, :1, :])), x)

    def move(self, adv: Tensor, x: Tensor, p: float, chance: Tensor) -> Tensor:
        """Return candidates that differ from ``adv [N,C,H,W]`` in a square with a fraction ``p`` of the pixels.

        ``chance [N, C+5]`` holds the uniform values that each image draws for one query."""
        height, width = x.shape[2:]
        side = max(round(math.sqrt(p * height * width)), 1)
        size = (min(side, height, width),) * 2 if height > 1 else (1, max(round(p * width), 1))
        square, moved = _window(adv, size, chance[:, 0], chance[:, 1]), adv.clone()
        corner = self.threat.project(x + self.threat.eps * _signs(chance[:, 5:])[:, :, None, None], x)
        moved[square] = corner[square]
        return moved


@dataclass(frozen=True)
class Energy:
    """L2 (Algorithm 3): move the squared norm of one square, and the unused rest of ``eps²``, to another square.

    The new content of that square is the sum of its old direction and a bump (eq. 2), each of length 1, rescaled per channel.
    The start is a 5 x 5 grid of bumps.
    """

    threat: L2

    def start(self, x: Tensor, noise: Noise) -> Tensor:
        (height, width), delta = x.shape[2:], torch.zeros_like(x)
        side = max(min(height, width) // 5, 1)
        size = (side, side) if height > 1 else (1, max(width // 5, 1))
        rows, columns = min(5, height // size[0]), min(5, width // size[1])
        signs = _signs(noise.uniform(x[:, :, :1, :1].repeat(1, 1, rows, columns)))
        tiles = torch.kron(signs, bump(*size, x))
        top, left = (height - rows * size[0]) // 2, (width - columns * size[1]) // 2
        delta[:, :, top : top + rows * size[0], left : left + columns * size[1]] = tiles
        return self.threat.project(x + self.threat.eps * self.threat.direction(delta), x)

    def move(self, adv: Tensor, x: Tensor, p: float, chance: Tensor) -> Tensor:
        height, width = x.shape[2:]
        side = _odd(math.sqrt(p * height * width), min(height, width))
        size = (side, side) if height > 1 else (1, _odd(p * width, width))
        here, there = (_window(adv, size, chance[:, i], chance[:, i + 1]) for i in (0, 2))
        delta = adv - x
        rest = delta.clone()
        rest[here] = rest[there] = 0
        unused = (self.threat.eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_min(0)
        available = (delta.square() - rest.square()).sum((2, 3), keepdim=True) + unused / x.shape[1]
        shape = bump(*size, x)
        shape = torch.where(chance[:, 4, None, None] < 0.5, shape, shape.T if height > 1 else shape.flip(1))[:, None]
        mixed = _signs(chance[:, 5:])[:, :, None, None] * shape + _unit(delta[here])
        rest[here] = _unit(mixed) * available.clamp_min(0).sqrt()
        return self.threat.project(x + rest, x)


def _odd(side: float, most: int) -> int:
    """Return an odd length near ``side``, between 3 and ``most``: a bump needs a centre."""
    return min(max(round(side), 3) // 2 * 2 + 1, (most + 1) // 2 * 2 - 1)


def bump(height: int, width: int, like: Tensor) -> Tensor:
    """Return a positive and a negative pyramid side by side (eq. 2): ``[height, width]``, of L2 norm 1."""
    half = width // 2
    eta: Tensor = torch.cat([_pyramid(height, half, like), -_pyramid(height, width - half, like)], 1)
    return eta.div_(torch.linalg.vector_norm(eta))


def _pyramid(height: int, width: int, like: Tensor) -> Tensor:
    """Return, at Chebyshev distance ``d`` from the middle, the sum of ``1/j²`` for j from d+1 to half the longer side + 1."""
    row, column = (torch.arange(size, device=like.device) - size // 2 for size in (height, width))
    distance = torch.maximum(row.abs()[:, None], column.abs()[None, :])
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2, device=like.device, dtype=like.dtype).square()
    return running_sum(terms.flip(0), 0).flip(0)[distance]


def _window(x: Tensor, size: tuple[int, int], down: Tensor, right: Tensor) -> tuple[Tensor, ...]:
    """Return the index of one window ``[n,C,*size]`` per image; two uniform values ``[n]`` give its position."""
    (count, channels, *sides), device = x.shape, x.device
    top, left = (
        (at * (side - inner + 1)).long().clamp_max(side - inner)[:, None] + torch.arange(inner, device=device)
        for at, side, inner in zip((down, right), sides, size, strict=True)
    )
    image = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return image, channel, top[:, None, :, None], left[:, None, None, :]


def _signs(uniform: Tensor) -> Tensor:
    return 1 - 2 * (uniform < 0.5).to(uniform.dtype)


def _unit(window: Tensor) -> Tensor:
    """Scale every channel of every image to L2 norm 1; zeros stay zero."""
    length: Tensor = torch.linalg.vector_norm(window, dim=(2, 3), keepdim=True)
    return window / positive(length)


Moves = Corners | Energy
MOVES: dict[type, type[Corners] | type[Energy]] = {Linf: Corners, L2: Energy}
"""The random search for each kind of threat."""


def as_image(x: Tensor) -> Tensor:
    """Reshape samples to ``[N,C,H,W]``. Dimensions before the last two become channels, so a square covers the same place in
    every frame; ``[N,C,L]`` and ``[N,D]`` get a height of 1, so squares become intervals."""
    if x.dim() < 4:
        return x.reshape(len(x), x.shape[1] if x.dim() == 3 else 1, 1, x.shape[-1])
    return x.flatten(1, -3)


@dataclass(frozen=True)
class Square(OwnAttack):
    """Random search that keeps square patches if they lower the margin ``z_y - max_{i != y} z_i``.

    A sample leaves the run once it is broken: as the judge says, or, without a judge, once the model misclassifies it. See
    `as_image` for samples that are not images.

    Arguments:
        queries: forward passes per sample and restart.
        p: fraction of the values in the first square; it halves at `HALVINGS`.
        restarts: independent searches; each sample keeps the result with the lowest margin.
        give_up: give a sample up if its margin still exceeds this share of the clean one after an eighth of the queries; 1
            gives up none.
    """

    follows: ClassVar[Kinds] = tuple(MOVES)
    queries: Count = 5000
    p: Annotated[float, Range("(0, 1]")] = 0.8
    restarts: Count = 1
    give_up: Share = 1.0

    def search(self, task: Task) -> Tensor:
        moves = next(moves for kind, moves in MOVES.items() if isinstance(task.threat, kind))(task.threat)
        worth = Margin().on(task.model, task.x, task.y)

        @torch.no_grad()
        def run(chosen: Tensor, judge: Judge | None) -> Tensor:
            return self._run(task, moves, among(worth, chosen), chosen, judge)

        return best_of([run] * self.restarts, task, worth)

    def _run(self, task: Task, moves: Moves, worth: Losses, chosen: Tensor, judge: Judge | None) -> Tensor:
        """Search once on the samples ``chosen``. All samples draw, so that noise does not depend on which others are left."""
        model, x, y, draw, images, shape = task.model, task.x, task.y, task.noise, as_image(task.x), task.x.shape[1:]
        start, blank = moves.start(images, draw)[chosen], x.new_empty(len(x), images.shape[1] + 5)
        clean, adv, alive = images[chosen], images[chosen], torch.arange(len(chosen), device=x.device)
        highest = x.new_full((len(chosen),), -torch.inf)
        begin(model, len(chosen))
        for query in range(-1, self.queries):  # the clean sample does not count as a query
            if query == 0:
                unmoved = highest.clone()
            elif query == self.queries // GIVES_UP:
                alive = alive[~hopeless(highest[alive], unmoved[alive], self.give_up)]
            if not len(alive):
                break
            if query < 1:
                candidate = (adv if query < 0 else start)[alive]
            else:
                chance = draw.uniform(blank)[chosen[alive]]
                candidate = moves.move(adv[alive], clean[alive], area(query, self.queries, self.p), chance)
            logits = answer(model, candidate.reshape(len(alive), *shape), alive)
            margin = worth(logits, alive).to(highest.dtype)
            better = ((margin > highest[alive]) | (query == 0)).nonzero().flatten()
            if not len(better):
                continue
            kept, index = candidate[better], alive[better]
            adv[index], highest[index] = kept, margin[better]
            broken = logits[better].argmax(1) != y[chosen[index]]
            if judge is not None:
                broken = judge(kept.reshape(len(kept), *shape), index)
            lives = torch.ones_like(alive, dtype=torch.bool)
            lives[better] = ~broken
            alive = alive[lives]
        return adv.reshape(len(adv), *shape)
