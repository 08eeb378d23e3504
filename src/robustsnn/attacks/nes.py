"""Attack with gradients estimated from queries (natural evolution strategies; Ilyas et al. 2018), without any surrogate."""

from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from torch import Tensor

from robustsnn.attacks.goals import GIVES_UP, Goal, Losses, Margin, answer, clean_logits, hopeless
from robustsnn.attacks.gradient import Move, Slope, ascend
from robustsnn.attacks.own import OwnAttack, Task, among, best_of
from robustsnn.ranges import Count, Positive, Share
from robustsnn.seeds import noise, portion
from robustsnn.threats import Ball
from robustsnn.types import Attack, Classifier, Judge, Randomness

MOMENTUM = 0.5
"""Weight of the previous direction in the next step."""


@dataclass(frozen=True)
class NES(OwnAttack):
    """Ascent along a gradient estimated from the margins of noisy copies of each sample.

    One step evaluates ``samples`` copies ``x ± spread * eps * u`` with normal ``u`` (of length about 1 under L2), each ``u``
    with both signs, and sums ``(f(x + ..) - f(x - ..)) u``. A sample leaves the run once it is broken: as the judge says, or,
    without a judge, once the model misclassifies it.

    Arguments:
        queries: noisy copies per image and restart; a judge adds one query per step.
        samples: copies per step, an even number.
        spread: standard deviation of the noise, in units of ``eps``.
        first, last: sizes of the first and the last step, in units of ``eps``; step sizes decrease geometrically.
        after: an attack whose result is the starting point, instead of the clean image. A small ``spread`` and small steps
            then search near that result.
        restarts: independent searches; each image keeps the result with the highest goal.
        goal: what to maximise.
        give_up: give a sample up if the size of its margin still exceeds this share of the clean one, after an eighth of the
            steps and directly after the ``after`` attack; 1 gives up none.

    Raises:
        ValueError: ``samples`` is odd or exceeds ``queries``, or another value is out of range.
    """

    queries: Count = 10_000
    samples: Count = 50
    spread: Positive = 0.3
    first: Positive = 0.5
    last: Positive = 0.05
    after: Attack | None = None
    restarts: Count = 1
    goal: Goal = Margin()
    give_up: Share = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples % 2 or self.samples > self.queries:
            raise ValueError(f"samples of NES must be even and at most queries ({self.queries}), not {self.samples}")

    @torch.no_grad()
    def search(self, task: Task) -> Tensor:
        model, x, y, threat = task.model, task.x, task.y, task.threat
        losses, far = self.goal.on(model, x, y), self._far(model, x, y)

        def misclassified(adv: Tensor, index: Tensor) -> Tensor:
            return answer(model, adv, index).argmax(1) != y[index]

        def attempt(number: int, chosen: Tensor, judge: Judge | None) -> Tensor:
            mine, says = portion(task.rng, chosen, "restart", number), judge or among(misclassified, chosen)
            gives_up, step = among(far, chosen), count(1)

            def done(adv: Tensor, index: Tensor) -> Tensor:
                over = says(adv, index)
                return over | gives_up(adv, index) if next(step) == self.queries // self.samples // GIVES_UP else over

            adv, alive = x[chosen], torch.arange(len(chosen), device=x.device)
            if self.after is not None:
                seeds = portion(mine, alive, "after")
                adv = self.after(model, x[chosen], y[chosen], threat, rng=seeds, judge=judge).clone()
                alive = alive[~(says(adv, alive) | gives_up(adv, alive))]
            if len(alive):
                adv[alive] = ascend(
                    model,
                    x[chosen[alive]],
                    among(losses, chosen[alive]),
                    threat=threat,
                    start=adv[alive],
                    step=self._steps(len(alive), x, threat),
                    steps=self.queries // self.samples,
                    judge=among(done, alive),
                    gradient=self._slopes(threat, portion(mine, alive, "search"), len(x)),
                )
            return adv

        return best_of([partial(attempt, number) for number in range(self.restarts)], task, losses)

    def _far(self, model: Classifier, x: Tensor, y: Tensor) -> Judge:
        """Return a function that says which samples to give up."""
        if self.give_up == 1:
            return lambda _, index: torch.zeros_like(index, dtype=torch.bool)
        worth = Margin().on(model, x, y)
        clean = worth(clean_logits(model, x), torch.arange(len(x), device=x.device))
        return lambda adv, index: hopeless(worth(answer(model, adv, index), index), clean[index], self.give_up)

    def _slopes(self, threat: Ball, rng: Randomness, most: int) -> Slope:
        """Return the gradient estimator of a run; its batches hold at most ``most`` copies, but always those of one image."""
        number, at_once = count(), max(1, most // self.samples)

        def slope(model: Classifier, adv: Tensor, losses: Losses, index: Tensor) -> Tensor:
            step, parts = next(number), zip(adv.split(at_once), index.split(at_once), strict=True)
            return torch.cat([self._slope(model, x, threat, losses, i, portion(rng, i, "step", step)) for x, i in parts])

        return slope

    def _slope(self, model: Classifier, x: Tensor, threat: Ball, losses: Losses, index: Tensor, rng: Randomness) -> Tensor:
        """Estimate the gradient at samples ``x [n, ...]`` from one forward pass of all their copies."""
        pairs = self.samples // 2
        u = noise(rng).normal(x.unsqueeze(1).expand(-1, pairs, *x.shape[1:]))
        copies = x.unsqueeze(1) + self.spread * threat.eps / threat.widest(x) * torch.cat([u, -u], 1)
        whose = index.repeat_interleave(self.samples)
        up, down = losses(answer(model, copies.flatten(0, 1), whose), whose).view(len(x), 2, pairs).unbind(1)
        slope: Tensor = torch.einsum("np,np...->n...", (up - down).to(u), u)
        return slope

    def _steps(self, images: int, like: Tensor, threat: Ball) -> Move:
        """Return the step function of one run: decreasing sizes, with momentum."""
        steps = self.queries // self.samples
        ratio = (self.last / self.first) ** (1 / max(1, steps - 1))
        sizes = iter([threat.eps * self.first * ratio**step for step in range(steps)])
        kept = like.new_zeros(images, *like.shape[1:])

        def move(gradient: Tensor, index: Tensor) -> Tensor:
            kept[index] = MOMENTUM * kept[index] + gradient
            delta: Tensor = next(sizes) * threat.direction(kept[index])
            return delta

        return move
