"""What is measured: for each row, the same work in each form."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.bench.forms import Case, PlainPath
from benchmarks.bench.halves import halves
from robustsnn.attacks import FGSM, PGD
from robustsnn.compute.layout import layout
from robustsnn.conversion import calibrate, folded
from robustsnn.conversion.calibration import calibrating, received
from robustsnn.evaluation import PUBLISHED_PATHS, Member, worst_case
from robustsnn.evaluation.ensemble import Target, attempt
from robustsnn.seeds import generator, randomness
from robustsnn.spiking import Dynamics, unrolled
from robustsnn.spiking.kernels import fused
from robustsnn.threats import Linf
from robustsnn.training.objectives import Adversarial, RobustFinetuning

Forms = dict[str, Callable[[], object]]
"""The same work in each of `FORMS`; ensembles return which images they broke."""

FORMS = ("plain", "ours", "floor")


def _lif(case: Case) -> Forms:
    current = torch.randn(case.timesteps, case.batch, 16, 32, 32, generator=generator(0, "bench")).to(case.device)
    threshold, up = torch.tensor(0.5, device=case.device), torch.ones_like(current)

    def run(fire: Callable[[Tensor, Tensor, Dynamics], Tensor]) -> object:
        given = current.detach().requires_grad_(), threshold.detach().requires_grad_()
        return torch.autograd.grad(fire(*given, Dynamics(case.timesteps)), given, up)

    return {"plain": lambda: run(unrolled), "ours": lambda: run(fused), "floor": current.clone}


def _forward(case: Case) -> Forms:
    x, floor = case.images(case.batch), cache(lambda: case.floor(case.batch))

    @torch.no_grad()
    def run(net: nn.Module) -> object:
        return net(x)

    return {
        "plain": lambda: run(case.plain.eval()),
        "ours": lambda: run(folded(case.ours)),
        "floor": lambda: floor().forward(),
    }


def _gradient(case: Case) -> Forms:
    x, y, floor = case.images(case.batch), case.labels(case.batch), cache(lambda: case.floor(case.batch))

    def run(net: nn.Module) -> object:
        pixels = x.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(net(pixels), y), pixels)[0]

    return {
        "plain": lambda: run(case.plain.eval()),
        "ours": lambda: run(folded(case.ours)),
        "floor": lambda: floor().gradient(),
    }


def _finetuning(case: Case) -> Forms:
    x, y, objective = case.images(case.batch), case.labels(case.batch), RobustFinetuning()
    seeds = case.seeds(case.batch)
    floor = cache(lambda: case.floor(case.batch))

    @randomness("bench")
    def plainly() -> object:
        adv = objective.attack()(case.plain.eval(), x, y, Linf(objective.eps), rng=seeds)
        return _step(case.plain, objective.loss(case.plain.train(), x, adv, y))

    def alone() -> None:  # the attack's clean answer and its step, then the two passes of the loss
        floor().forward()
        floor().gradient()
        floor().step()
        floor().step()

    @randomness("bench")
    def ours() -> object:
        return _step(case.ours, objective(case.ours.train(), x, y, rng=seeds))

    return {"plain": plainly, "ours": ours, "floor": alone}


def _step(net: nn.Module, loss: Tensor) -> object:
    return len(torch.autograd.grad(loss, list(net.parameters()), allow_unused=True))


def _adversarial(case: Case) -> Forms:
    x, y, objective = case.images(case.batch), case.labels(case.batch), Adversarial()
    seeds = case.seeds(case.batch)
    floor = cache(lambda: case.floor(case.batch, ann=True))
    last = x.contiguous(memory_format=layout(case.body))

    @randomness("bench")
    def plainly() -> object:
        adv = objective.attack()(case.body.eval(), x, y, Linf(objective.eps), rng=seeds)
        return _step(case.body, objective.loss(case.body.train(), x, adv, y))

    def alone() -> None:
        for _ in range(objective.steps):
            floor().gradient()
        floor().step()

    @randomness("bench")
    def ours() -> object:
        return _step(case.body, objective(case.body.train(), last, y, rng=seeds))

    return {"plain": plainly, "ours": ours, "floor": alone}


def _ensemble(case: Case, attack: type[FGSM] | type[PGD], count: int) -> Forms:
    """FGSM or PGD-20 over the 19 paths, which leave half of the images robust."""
    floor, attacking = cache(lambda: case.floor(count)), attack()
    x, y = halves(case, count)
    seeds = case.seeds(count)

    def alone() -> Tensor:
        target, broken = Target(case.plain.eval(), case.plain.eval()), torch.zeros_like(y, dtype=torch.bool)
        for path in PUBLISHED_PATHS:
            broken |= attempt(Member(attacking, Linf(8 / 255), PlainPath(path)), target, x, y, seeds, "last").broken
        return broken

    def together() -> Tensor:
        members = [Member(attacking, Linf(8 / 255), path) for path in PUBLISHED_PATHS]
        return worst_case(members, case.ours, x, y, rng=seeds, rule="last")[1] >= 0

    def layers() -> None:
        for _ in range(len(PUBLISHED_PATHS) * getattr(attacking, "steps", 1)):
            floor().gradient()

    return {"plain": alone, "ours": together, "floor": layers}


def _calibration(case: Case) -> Forms:
    x, floor = [case.images(case.few)], cache(lambda: case.floor(case.few))

    def plainly() -> object:  # every layer by a pass of its own from the images
        view = calibrating(case.ours, case.timesteps)
        return [received(view, name, x[0], 99.7) for name in view.neurons]

    return {
        "plain": plainly,
        "ours": lambda: calibrate(case.ours, x, timesteps=case.timesteps),
        "floor": lambda: floor().forward(),
    }


ROWS: dict[str, Callable[[Case], Forms]] = {
    "lif": _lif,
    "forward": _forward,
    "gradient": _gradient,
    "finetuning": _finetuning,
    "adversarial training": _adversarial,
    "FGSM-19": lambda case: _ensemble(case, FGSM, case.batch),
    "PGD-20-19": lambda case: _ensemble(case, PGD, case.few),
    "calibration": _calibration,
}
