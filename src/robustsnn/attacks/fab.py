"""The targeted fast adaptive boundary attack (Croce & Hein 2020, "Minimally distorted adversarial examples"), L∞."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.balls import Ball, Linf
from robustsnn.attacks.goals import Losses, answer, begin, clean_logits
from robustsnn.attacks.gradient import at_least_one, differentiate
from robustsnn.attacks.starts import largest
from robustsnn.compute.sums import running_sum
from robustsnn.seeds import noise
from robustsnn.types import Classifier, Images, Judge, Labels, Randomness


def to_hyperplane(x: Images, w: Images, rise: Tensor) -> Images:
    """The L∞-smallest ``d [N,C,H,W]`` with ``<w, d> = rise [N]`` and ``x + d`` in the box (eq. 6).

    Every pixel moves by the same amount along the sign of its weight, or up to the box. Where the box does not reach the
    hyperplane, every pixel goes all the way.
    """
    scale = largest(w.abs()).flatten()
    direction = (w.sign() * rise.sign().view(-1, 1, 1, 1)).flatten(1)
    room = torch.where(direction > 0, 1 - x.flatten(1), x.flatten(1)).masked_fill(direction == 0, 0)
    edges, order = room.sort(1)
    weight = (w.flatten(1).abs() / scale[:, None]).gather(1, order)
    spent = running_sum(weight * edges, 1) - weight * edges  # by the pixels that are at their edge before this one
    left = running_sum(weight.flip(1), 1).flip(1).clamp_min(torch.finfo(w.dtype).tiny)
    amount = ((rise.abs() / scale)[:, None] - spent) / left  # if this pixel and all after it have room enough
    enough = amount <= edges
    first = enough.int().argmax(1, keepdim=True)
    amount = torch.where(enough.any(1, keepdim=True), amount.gather(1, first), edges[:, -1:]).clamp_min(0)
    return (direction * torch.minimum(amount, room)).view_as(x)


@dataclass(frozen=True)
class FAB:
    """FAB-T: the misclassified image nearest in L∞, looked for at the boundaries to the likeliest wrong classes.

    With ``x`` the clean image, ``f = z_t - z_y`` and its tangent plane at the iterate ``x_k``, ``P`` and ``Q`` the projections
    of ``x_k`` and ``x`` onto that plane within the box, ``δ_P = P - x_k`` and ``δ_Q = Q - x``:
    ``x_{k+1} = clip((1 - α) (x_k + η δ_P) + α (x + η δ_Q))``, ``α = min(|δ_P| / (|δ_P| + |δ_Q|), alpha_max)``. A
    misclassified iterate goes back towards ``x``: ``x_{k+1} <- x + β (x_{k+1} - x)``. The final search of the paper is left
    out, as in AutoAttack.

    Arguments:
        eps: radius of the ball.
        steps: gradient steps per target and restart.
        targets: how many wrong classes; of fewer than that, all.
        restarts: runs per target; the first one from the clean image, the others from random points halfway to the best.
        alpha_max: largest share of the clean image's projection, in [0, 1].
        eta: how far beyond the plane to step, at least 1.
        beta: share of the perturbation that a backward step keeps, in (0, 1).

    Returns the nearest misclassified image found, clipped to the ball; the clean image where none was found. A judge is asked
    about the iterates that lie in the ball, and one that it calls broken is returned and costs nothing more.

    Raises:
        ValueError: an ``eps`` that is negative or not finite, a count below 1, or another figure out of its range.
    """

    eps: float = 8 / 255
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        Linf(self.eps)
        at_least_one(self, step=self.steps, target=self.targets, restart=self.restarts)
        if not 0 <= self.alpha_max <= 1:
            raise ValueError(
                f"alpha_max is the largest share of the clean image's projection, in [0, 1], not {self.alpha_max}"
            )
        if not 1 <= self.eta < float("inf"):
            raise ValueError(f"eta is how far beyond the boundary to step, at least 1, not {self.eta}")
        if not 0 < self.beta < 1:
            raise ValueError(f"beta is the share of the perturbation that a backward step keeps, in (0, 1), not {self.beta}")

    @property
    def ball(self) -> Ball:
        """Where the result may lie."""
        return Linf(self.eps)

    def __call__(self, model: Classifier, x: Images, y: Labels, *, rng: Randomness, judge: Judge | None = None) -> Images:
        x, draw = x.detach(), noise(rng)
        logits = clean_logits(model, x)
        wrong_classes = logits.shape[1] - 1
        if wrong_classes < 1:
            raise ValueError(f"FAB needs two or more classes, but the model's logits are {tuple(logits.shape)}")
        likeliest = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        nearest = _Nearest(x, y, self.eps, judge)
        nearest.see(x, logits, nearest.alive)
        for rank in range(min(self.targets, wrong_classes)):
            for restart in range(self.restarts):
                start = x
                if restart:
                    r = 2 * draw.uniform(x) - 1
                    half = (nearest.distance.clamp(max=self.eps) / 2).view(-1, 1, 1, 1)
                    start = (x + half * r / largest(r.abs())).clamp(0, 1)
                if len(nearest.alive):
                    self._run(model, likeliest[:, rank], start, nearest)
        return self.ball.project(nearest.images, x)

    def _run(self, model: Classifier, target: Tensor, start: Tensor, nearest: _Nearest) -> None:
        chosen = nearest.alive
        losses = _gap(nearest.y[chosen], target[chosen])
        x, adv, index = nearest.x[chosen], start[chosen], torch.arange(len(chosen), device=chosen.device)
        begin(model, len(chosen))
        for _ in range(self.steps):
            _, gap, gradient = differentiate(model, adv, losses, index)
            here = to_hyperplane(adv, gradient, -gap)
            clean = to_hyperplane(x, gradient, -gap - (gradient * (x - adv)).sum((1, 2, 3)))
            sizes = largest(here.abs()), largest(clean.abs())
            alpha = (sizes[0] / (sizes[0] + sizes[1])).clamp(max=self.alpha_max)
            adv = ((1 - alpha) * (adv + self.eta * here) + alpha * (x + self.eta * clean)).clamp(0, 1)
            with torch.no_grad():
                logits = answer(model, adv, index)
            wrong, lives = nearest.see(adv, logits, chosen[index])
            adv = torch.where(wrong.view(-1, 1, 1, 1), x + self.beta * (adv - x), adv)
            x, adv, index = x[lives], adv[lives], index[lives]
            if not len(index):
                return


class _Nearest:
    """The nearest misclassified image so far and its distance, ``inf`` where there is none; ``alive`` are worth going on."""

    def __init__(self, x: Tensor, y: Tensor, eps: float, judge: Judge | None) -> None:
        self.x, self.y, self.eps, self.judge = x, y, eps, judge
        self.images, self.distance = x.clone(), torch.full_like(x[:, 0, 0, 0], torch.inf)
        self.alive = torch.arange(len(x), device=x.device)

    def see(self, adv: Tensor, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which iterates of the images ``index``, all of ``alive``, the model misclassifies; which images live on."""
        distance = (adv - self.x[index]).abs().amax((1, 2, 3))
        wrong = logits.argmax(1) != self.y[index]
        lives = ~wrong | (distance > 0)
        better = wrong & (distance < self.distance[index])
        if self.judge is not None:
            inside = distance <= self.eps
            broken = torch.zeros_like(inside)
            if inside.any():
                broken[inside] = self.judge(adv[inside], index[inside])
            better, lives = better | broken, ~broken
        self.images[index[better]], self.distance[index[better]] = adv[better], distance[better]
        self.alive = index[lives]
        return wrong, lives


def _gap(y: Tensor, target: Tensor) -> Losses:
    """``z_t - z_y``."""
    classes = torch.stack([target, y], 1)

    def losses(logits: Tensor, index: Tensor) -> Tensor:
        pair = logits.gather(1, classes[index])
        return pair[:, 0] - pair[:, 1]

    return losses
