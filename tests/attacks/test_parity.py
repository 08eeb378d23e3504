"""Our attacks against torchattacks 3.5.1, which nobody here wrote: at equal budgets both leave equally many images robust.

``pytest -rP tests/attacks/test_parity.py`` prints both numbers; with ``ROBUSTSNN_PARITY=full`` on 673 images at the papers'
steps and targets (some minutes on one core), else on 500 at fewer of both.
"""

import os
from functools import cache

import pytest
import torch
from torch import nn

from robustsnn.attacks import APGD, DLR, FAB, PGD, Gaussian, Square, TargetedAPGD
from robustsnn.data import digits, split
from robustsnn.models import create
from robustsnn.seeds import image_seeds
from robustsnn.threats import L2, Linf
from robustsnn.training import FastAdversarial, Schedule, train

pytestmark = pytest.mark.usefixtures("unchecked")

theirs = pytest.importorskip("torchattacks", reason="not there: pip install --no-deps torchattacks==3.5.1")

FULL = os.environ.get("ROBUSTSNN_PARITY") == "full"
COUNT, STEPS, TARGETS, QUERIES = (673, 100, 9, 3000) if FULL else (500, 40, 3, 1000)
EPS = 0.15
NEAR, ROUND = Linf(EPS), L2(0.8)
POINTS = 1.0
"""How far the two robust accuracies may be apart, of 100."""


class Framed(nn.Module):
    """A network that looks at all but the last row and column, since the squares of torchattacks never reach these two."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x[:, :, :-1, :-1])


@cache
def victim():
    """A digits network trained against one gradient step for a few seconds, and images that it has not seen."""
    data = digits()
    seen, unseen = split(data.train, 0.5, seed=0)
    net = create("digits", 10, size=8, channels=1, mean=data.mean, std=data.std, width=0.5)
    train(net, seen, data.test, FastAdversarial(eps=0.1), Schedule(10, 32), probe=None)
    return net.requires_grad_(False).eval(), *unseen.first(COUNT).batch(torch.arange(COUNT))


FIXED = {"steps": STEPS}
TARGETED = {"multi_targeted": True, "n_classes": TARGETS + 1, **FIXED}
PAIRS = {
    "PGD": (PGD(STEPS), NEAR, lambda net: theirs.PGD(net, eps=EPS, alpha=2.5 * EPS / STEPS, **FIXED)),
    "APGD-CE": (APGD(STEPS), NEAR, lambda net: theirs.APGD(net, eps=EPS, loss="ce", **FIXED)),
    "APGD-DLR": (APGD(STEPS, goal=DLR()), NEAR, lambda net: theirs.APGD(net, eps=EPS, loss="dlr", **FIXED)),
    "APGD-T": (
        TargetedAPGD(STEPS, TARGETS),
        NEAR,
        lambda net: theirs.APGDT(net, eps=EPS, steps=STEPS, n_classes=TARGETS + 1),
    ),
    "FAB-T": (FAB(STEPS, TARGETS), NEAR, lambda net: theirs.FAB(net, eps=EPS, **TARGETED)),
    "Square": (Square(QUERIES), NEAR, lambda net: theirs.Square(net, eps=EPS, n_queries=QUERIES)),
    "PGD-L2": (  # from the image itself: their random start is nearer to it than one that is uniform in the ball
        PGD(STEPS, start=Gaussian(0.0)),
        ROUND,
        lambda net: theirs.PGDL2(net, eps=ROUND.eps, alpha=2.5 * ROUND.eps / STEPS, random_start=False, **FIXED),
    ),
    "APGD-L2": (APGD(STEPS), ROUND, lambda net: theirs.APGD(net, norm="L2", eps=ROUND.eps, loss="ce", **FIXED)),
    "FAB-L2": (FAB(STEPS, TARGETS), ROUND, lambda net: theirs.FAB(net, norm="L2", eps=ROUND.eps, **TARGETED)),
    "Square-L2": (Square(QUERIES), ROUND, lambda net: theirs.Square(net, norm="L2", eps=ROUND.eps, n_queries=QUERIES)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_both_leave_equally_many_images_robust(name):
    (net, x, y), (ours, threat, make) = victim(), PAIRS[name]
    if name.startswith("Square"):
        net, x = Framed(net).eval(), nn.functional.pad(x, (0, 1, 0, 1))

    @torch.no_grad()
    def wrong(images, index):
        return net(images).argmax(1) != y[index]

    def robust(adv):
        return 100 * (1 - wrong(threat.project(adv, x), torch.arange(COUNT)).float().mean().item())

    last = name.startswith("PGD")  # their PGD returns the last iterate, all others any that is misclassified
    here = robust(ours(net, x, y, threat, rng=image_seeds(torch.arange(COUNT), 0, name), judge=None if last else wrong))
    there = robust(make(net)(x, y))
    line = f"{name}: robust accuracy {here:.1f} % here, {there:.1f} % with torchattacks, of {robust(x):.1f} % clean"
    print(f"{line}; {COUNT} images, {threat}, {STEPS} steps, {TARGETS} targets, {QUERIES} queries")  # noqa: T201
    assert 20 < here < 80, f"{line}: this shows nothing"
    assert here - there <= POINTS + 1e-3, line
    assert there - here <= POINTS + 1e-3 or name == "Square-L2", line  # whose search with them leaves more than ours


def test_fab_finds_the_same_distances():
    net, x, y = victim()
    mine = FAB(STEPS, 1)(net, x, y, Linf(1.0), rng=image_seeds(torch.arange(COUNT), 0)) - x
    other = theirs.FAB(net, eps=1.0, steps=STEPS, multi_targeted=True, n_classes=2)(x, y) - x
    mine, other = (delta.abs().amax((1, 2, 3)) for delta in (mine, other))
    print(f"FAB-T: median distance {mine.median():.4f} here, {other.median():.4f} with torchattacks")  # noqa: T201
    assert ((mine - other).abs() <= 0.01 * other).float().mean() > 0.95
