"""SA-PGD: gradient ascent with momentum and a step size per pixel, for networks with small or uneven gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.gradient import Ascent, Move
from robustsnn.attacks.own import Task
from robustsnn.attacks.starts import Boundary
from robustsnn.ranges import Count
from robustsnn.seeds import noise, portion
from robustsnn.threats import Ball, per_sample, positive


def step_sizes(steps: int) -> list[float]:
    """Return η of every step, in units of ``eps``.

    η halves after every ``k`` steps; then ``k <- max(k - max(⌊.03n⌋, 1), max(⌊.06n⌋, 1))``, initially ``k = max(⌊.22n⌋, 1)``.

    >>> step_sizes(10)[:5]
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """
    k, less, least = (max(hundredths * steps // 100, 1) for hundredths in (22, 3, 6))
    sizes: list[float] = []
    eta = 1.0
    while len(sizes) < steps:
        sizes += [eta] * k
        eta, k = eta / 2, max(k - less, least)
    return sizes[:steps]


@dataclass(frozen=True)
class SAPGD(Ascent):
    """PGD with running means of gradients and of their squares (arXiv 2512.22522).

    With ``ĝ = g / mean|g|`` and ``q = g² / mean(g²)`` per sample, ``m <- .5 m + ĝ`` and ``v <- .8 v + q``; a step is
    ``clip(η m / (√v + 1e-12), -η, η)``, under other norms rescaled to a length of at most η. If a sample's gradient is zero,
    random signs replace ``ĝ``.

    Arguments:
        steps: use 100 or more; with few steps η halves after each of them.
        restarts, goal: as in `Ascent`.
    """

    steps: Count = 100

    def begin(self, task: Task) -> Tensor:
        return Boundary()(task.x, task.threat, task.noise)

    def step(self, task: Task, chosen: Tensor, restart: int) -> Move:
        threat: Ball = task.threat
        rng, schedule = portion(task.rng, chosen, "restart", restart), enumerate(step_sizes(self.steps))
        m, v = torch.zeros_like(task.x[chosen]), torch.zeros_like(task.x[chosen])

        def move(gradient: Tensor, index: Tensor) -> Tensor:
            number, size = next(schedule)
            zero = (gradient == 0).flatten(1).all(1)
            if zero.any():
                gradient = gradient.clone()
                drawn = noise(portion(rng, index[zero], "sign", number)).uniform(gradient[zero])
                gradient[zero] = torch.where(drawn < 0.5, -1.0, 1.0).to(gradient.dtype)
            scaled = gradient / positive(per_sample(torch.amax, gradient.abs()))  # small squares would underflow to 0
            scaled = scaled / per_sample(torch.mean, scaled.abs())
            squares = scaled.square() / per_sample(torch.mean, scaled.square())
            m[index] = 0.5 * m[index] + scaled
            v[index] = 0.8 * v[index] + squares
            eta = threat.eps * size
            return threat.shorten(eta * m[index] / (v[index].sqrt() + 1e-12), eta)

        return move
