"""The targeted fast adaptive boundary attack (Croce & Hein 2020, "Minimally distorted adversarial examples")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.checks import accepted, at_least_one
from robustsnn.attacks.goals import Losses, answer, begin, clean_logits
from robustsnn.attacks.gradient import differentiate
from robustsnn.compute.sums import running_sum
from robustsnn.seeds import noise
from robustsnn.threats import Ball, per_sample, positive, spread
from robustsnn.types import Classifier, Inputs, Judge, Kinds, Labels, Randomness, Threat


def to_hyperplane(threat: Ball, x: Inputs, w: Inputs, rise: Tensor) -> Inputs:
    """The shortest ``d [N, ...]`` by the threat's norm with ``<w, d> = rise [N]`` and ``x + d`` in the box (eq. 6).

    Every value moves along the threat's direction of ``w``, or up to the box: under L-infinity all by the same amount, under
    L2 in proportion to their weights. Where the box does not reach the hyperplane, every value goes all the way.
    """
    scale, (low, high) = positive(per_sample(torch.amax, w.abs())).flatten(), threat.box
    direction = (threat.direction(w) * spread(rise.sign(), w)).flatten(1)
    speed, flat = direction.abs(), x.flatten(1)
    room = torch.where(direction > 0, high - flat, flat - low).masked_fill(direction == 0, 0)
    edges, order = (room / positive(speed)).sort(1)
    weight = (w.flatten(1).abs() / scale[:, None] * speed).gather(1, order)
    spent = running_sum(weight * edges, 1) - weight * edges  # by the values that are at their edge before this one
    left = positive(running_sum(weight.flip(1), 1).flip(1))
    amount = ((rise.abs() / scale)[:, None] - spent) / left  # if this value and all after it have room enough
    enough = amount <= edges
    first = enough.int().argmax(1, keepdim=True)
    amount = torch.where(enough.any(1, keepdim=True), amount.gather(1, first), edges[:, -1:]).clamp_min(0)
    return (direction.sign() * torch.minimum(amount * speed, room)).view_as(x)


@dataclass(frozen=True)
class FAB:
    """FAB-T: the nearest misclassified sample by the threat's norm, at the boundaries to the likeliest wrong classes.

    With ``x`` the clean image, ``f = z_t - z_y`` and its tangent plane at the iterate ``x_k``, ``P`` and ``Q`` the projections
    of ``x_k`` and ``x`` onto that plane within the box, ``δ_P = P - x_k`` and ``δ_Q = Q - x``:
    ``x_{k+1} = clip((1 - α) (x_k + η δ_P) + α (x + η δ_Q))``, ``α = min(|δ_P| / (|δ_P| + |δ_Q|), alpha_max)``. A
    misclassified iterate goes back towards ``x``: ``x_{k+1} <- x + β (x_{k+1} - x)``. The final search of the paper is left
    out, as in AutoAttack.

    Arguments:
        steps: gradient steps per target and restart.
        targets: how many wrong classes; of fewer than that, all.
        restarts: runs per target; the first one from the clean image, the others from random points halfway to the best.
        alpha_max: largest share of the clean image's projection, in [0, 1].
        eta: how far beyond the plane to step, at least 1.
        beta: share of the perturbation that a backward step keeps, in (0, 1).

    Returns the nearest misclassified image found, clipped to the ball; the clean image where none was found. A judge is asked
    about the iterates that lie in the ball, and one that it calls broken is returned and costs nothing more.

    Raises:
        ValueError: a count below 1, or another figure out of its range.
    """

    follows: ClassVar[Kinds] = (Ball,)
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        at_least_one(self, step=self.steps, target=self.targets, restart=self.restarts)
        if not 0 <= self.alpha_max <= 1:
            raise ValueError(
                f"alpha_max is the largest share of the clean image's projection, in [0, 1], not {self.alpha_max}"
            )
        if not 1 <= self.eta < float("inf"):
            raise ValueError(f"eta is how far beyond the boundary to step, at least 1, not {self.eta}")
        if not 0 < self.beta < 1:
            raise ValueError(f"beta is the share of the perturbation that a backward step keeps, in (0, 1), not {self.beta}")

    def __call__(
        self, model: Classifier, x: Inputs, y: Labels, threat: Threat, *, rng: Randomness = None, judge: Judge | None = None
    ) -> Inputs:
        x, draw = x.detach(), noise(rng)
        ball: Ball = accepted(self, threat)
        logits = clean_logits(model, x)
        wrong_classes = logits.shape[1] - 1
        if wrong_classes < 1:
            raise ValueError(f"FAB needs two or more classes, but the model's logits are {tuple(logits.shape)}")
        likeliest = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        nearest = _Nearest(x, y, ball, judge)
        nearest.see(x, logits, nearest.alive)
        for rank in range(min(self.targets, wrong_classes)):
            for restart in range(self.restarts):
                start = x
                if restart:
                    r = ball.random(x, draw)
                    half = spread(nearest.distance.clamp(max=ball.eps) / 2, x)
                    start = ball.boxed(x + half * r / positive(ball.length(r)))
                if len(nearest.alive):
                    self._run(model, likeliest[:, rank], start, nearest)
        return ball.project(nearest.samples, x)

    def _run(self, model: Classifier, target: Tensor, start: Tensor, nearest: _Nearest) -> None:
        chosen = nearest.alive
        threat, losses = nearest.threat, _gap(nearest.y[chosen], target[chosen])
        x, adv, index = nearest.x[chosen], start[chosen], torch.arange(len(chosen), device=chosen.device)
        begin(model, len(chosen))
        for _ in range(self.steps):
            _, gap, gradient = differentiate(model, adv, losses, index)
            here = to_hyperplane(threat, adv, gradient, -gap)
            clean = to_hyperplane(threat, x, gradient, -gap - per_sample(torch.sum, gradient * (x - adv)).flatten())
            sizes = positive(threat.length(here)), positive(threat.length(clean))
            alpha = (sizes[0] / (sizes[0] + sizes[1])).clamp(max=self.alpha_max)
            adv = threat.boxed((1 - alpha) * (adv + self.eta * here) + alpha * (x + self.eta * clean))
            with torch.no_grad():
                logits = answer(model, adv, index)
            wrong, lives = nearest.see(adv, logits, chosen[index])
            adv = torch.where(spread(wrong, x), x + self.beta * (adv - x), adv)
            x, adv, index = x[lives], adv[lives], index[lives]
            if not len(index):
                return


class _Nearest:
    """The nearest misclassified image so far and its distance, ``inf`` where there is none; ``alive`` are worth going on."""

    def __init__(self, x: Tensor, y: Tensor, threat: Ball, judge: Judge | None) -> None:
        self.x, self.y, self.threat, self.judge = x, y, threat, judge
        self.samples, self.distance = x.clone(), x.new_full((len(x),), torch.inf)
        self.alive = torch.arange(len(x), device=x.device)

    def see(self, adv: Tensor, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which iterates of the images ``index``, all of ``alive``, the model misclassifies; which images live on."""
        distance = self.threat.length(adv - self.x[index]).flatten()
        wrong = logits.argmax(1) != self.y[index]
        lives = ~wrong | (distance > 0)
        better = wrong & (distance < self.distance[index])
        if self.judge is not None:
            inside = distance <= self.threat.eps
            broken = torch.zeros_like(inside)
            if inside.any():
                broken[inside] = self.judge(adv[inside], index[inside])
            better, lives = better | broken, ~broken
        self.samples[index[better]], self.distance[index[better]] = adv[better], distance[better]
        self.alive = index[lives]
        return wrong, lives


def _gap(y: Tensor, target: Tensor) -> Losses:
    """``z_t - z_y``."""
    classes = torch.stack([target, y], 1)

    def losses(logits: Tensor, index: Tensor) -> Tensor:
        pair = logits.gather(1, classes[index])
        return pair[:, 0] - pair[:, 1]

    return losses
