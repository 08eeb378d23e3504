"""The targeted fast adaptive boundary attack (Croce & Hein 2020, "Minimally distorted adversarial examples")."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from robustsnn.attacks.goals import answer, at, begin, clean_logits, wrong_classes
from robustsnn.attacks.gradient import differentiate
from robustsnn.attacks.own import OwnAttack, Task
from robustsnn.compute.sums import running_sum
from robustsnn.ranges import Count, Range, Share
from robustsnn.threats import Ball, per_sample, positive, spread
from robustsnn.types import Inputs


def to_hyperplane(threat: Ball, x: Inputs, w: Inputs, rise: Tensor) -> Inputs:
    """Return the shortest ``d [N, ...]`` in the threat's norm with ``<w, d> = rise [N]`` and ``x + d`` in the box (eq. 6).

    Every value moves along the threat's direction of ``w`` until it reaches the box: by the same amount under L-infinity, in
    proportion to its weight under L2. If the hyperplane lies outside the box, every value moves to the edge of the box.
    """
    scale, (low, high) = positive(per_sample(torch.amax, w.abs())).flatten(), threat.box
    direction = (threat.direction(w) * spread(rise.sign(), w)).flatten(1)
    speed, flat = direction.abs(), x.flatten(1)
    room = torch.where(direction > 0, high - flat, flat - low).masked_fill(direction == 0, 0)
    edges, order = (room / positive(speed)).sort(1)
    weight = (w.flatten(1).abs() / scale[:, None] * speed).gather(1, order)
    spent = running_sum(weight * edges, 1) - weight * edges  # by the values that reach their edge before this one
    left = positive(running_sum(weight.flip(1), 1).flip(1))
    amount = ((rise.abs() / scale)[:, None] - spent) / left  # if this value and all later ones have enough room
    enough = amount <= edges
    first = enough.int().argmax(1, keepdim=True)
    amount = torch.where(enough.any(1, keepdim=True), amount.gather(1, first), edges[:, -1:]).clamp_min(0)
    return (direction.sign() * torch.minimum(amount * speed, room)).view_as(x)


class _Nearest:
    """The nearest misclassified image so far and its distance (``inf``: none found); ``alive`` indexes unfinished images."""

    def __init__(self, task: Task) -> None:
        self.task, x = task, task.x
        self.samples, self.distance = x.clone(), x.new_full((len(x),), torch.inf)
        self.alive = torch.arange(len(x), device=x.device)

    def see(self, adv: Tensor, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Record iterates of all ``alive`` images ``index``; return which are misclassified and which images stay alive."""
        task = self.task
        distance = task.threat.length(adv - task.x[index]).flatten()
        wrong = logits.argmax(1) != task.y[index]
        lives = ~wrong | (distance > 0)
        better = wrong & (distance < self.distance[index])
        if task.judge is not None:
            inside = distance <= task.threat.eps
            broken = torch.zeros_like(inside)
            if inside.any():
                broken[inside] = task.judge(adv[inside], index[inside])
            better, lives = better | broken, ~broken
        self.samples[index[better]], self.distance[index[better]] = adv[better], distance[better]
        self.alive = index[lives]
        return wrong, lives


@dataclass(frozen=True)
class FAB(OwnAttack):
    """FAB-T: search for the nearest misclassified sample, across the boundaries to the likeliest wrong classes.

    Let ``x`` be the clean image, ``f = z_t - z_y``, and ``P`` and ``Q`` the projections of the iterate ``x_k`` and of ``x``
    onto the tangent plane of ``f`` at ``x_k``, within the box. With ``δ_P = P - x_k`` and ``δ_Q = Q - x``:
    ``x_{k+1} = clip((1 - α) (x_k + η δ_P) + α (x + η δ_Q))``, ``α = min(|δ_P| / (|δ_P| + |δ_Q|), alpha_max)``. A
    misclassified iterate steps back towards ``x``: ``x_{k+1} <- x + β (x_{k+1} - x)``. As in AutoAttack, the final search of
    the paper is omitted.

    Arguments:
        steps: gradient steps per target and restart.
        targets: number of wrong classes, at most all of them.
        restarts: runs per target; the first starts at the clean image, the others at random points halfway to the best result.
        alpha_max: largest weight of the clean image's projection.
        eta: overshoot beyond the plane; 1 lands on it.
        beta: fraction of the perturbation that a backward step keeps.

    Returns the nearest misclassified image found, projected onto the ball, or the clean image if none was found. A judge is
    called on the iterates inside the ball; a broken iterate is returned and its image leaves the run.
    """

    steps: Count = 100
    targets: Count = 9
    restarts: Count = 1
    alpha_max: Share = 0.1
    eta: Annotated[float, Range("[1, inf)")] = 1.05
    beta: Annotated[float, Range("(0, 1)")] = 0.9

    def search(self, task: Task) -> Tensor:
        x, logits = task.x, clean_logits(task.model, task.x)
        ball: Ball = task.threat
        likeliest = wrong_classes(logits, task.y)
        if not likeliest.shape[1]:
            raise ValueError(f"FAB needs two or more classes, but the model's logits are {tuple(logits.shape)}")
        nearest = _Nearest(task)
        nearest.see(x, logits, nearest.alive)
        for target in likeliest.unbind(1)[: self.targets]:
            for restart in range(self.restarts):
                start = x
                if restart:
                    r = ball.random(x, task.noise)
                    half = spread(nearest.distance.clamp(max=ball.eps) / 2, x)
                    start = ball.boxed(x + half * r / positive(ball.length(r)))
                if len(nearest.alive):
                    self._run(target, start, nearest)
        return ball.project(nearest.samples, x)

    def _run(self, target: Tensor, start: Tensor, nearest: _Nearest) -> None:
        task, chosen = nearest.task, nearest.alive
        model, threat, y, target = task.model, task.threat, task.y[chosen], target[chosen]
        x, adv, index = task.x[chosen], start[chosen], torch.arange(len(chosen), device=chosen.device)

        def gap(logits: Tensor, index: Tensor) -> Tensor:
            return at(logits, target[index]) - at(logits, y[index])

        begin(model, len(chosen))
        for _ in range(self.steps):
            _, ahead, gradient = differentiate(model, adv, gap, index)
            here = to_hyperplane(threat, adv, gradient, -ahead)
            clean = to_hyperplane(threat, x, gradient, -ahead - per_sample(torch.sum, gradient * (x - adv)).flatten())
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
