"""A few images on which every gradient path is tried alone: which is strongest, and which gives no gradient at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustsnn.attacks import PGD, CrossEntropy
from robustsnn.attacks.goals import begin
from robustsnn.attacks.gradient import input_gradient
from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Target, attempt, wrong
from robustsnn.evaluation.members import Member
from robustsnn.evaluation.results import PathFigures
from robustsnn.seeds import image_seeds
from robustsnn.types import GradientPath, Threat


def pilots(data: Samples, count: int, seed: int) -> Samples:
    """As many images of ``data``; which, depends on their ids and the seed, not on their order."""
    return data.take(image_seeds(data.ids, seed, "pilot").argsort()[:count])


def pilot(
    net: nn.Module,
    images: Samples,
    paths: Sequence[GradientPath],
    threat: Threat,
    seed: int,
    on_path: Callable[[int], None] = lambda number: None,
) -> dict[GradientPath, PathFigures]:
    """Every path alone on the images that ``net`` classifies correctly, the strongest first; all 0 where there is none."""
    target = Target.of(net)
    x, y = images.batch(torch.arange(len(images), device=images.labels.device))
    right = ~wrong(target.judged, x, y)
    x, y, ids = x[right], y[right], images.ids[right]
    if not len(y):
        return {path: PathFigures(broken=0.0, zero_gradient=0.0) for path in paths}
    found = {}
    for number, path in enumerate(paths):
        broken = attempt(Member(PGD(5), threat, path), target, x, y, image_seeds(ids, seed, "pilot"), "any")[1]
        found[path] = PathFigures(broken=_share(broken), zero_gradient=_share(without_gradient(path(target.guide), x, y)))
        on_path(number)
    return dict(sorted(found.items(), key=lambda item: -item[1].broken))


def without_gradient(view: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images' cross-entropy has no gradient to follow, ``[N]``: 0, or not finite, in every value."""
    begin(view, len(x))
    gradient = input_gradient(view, x, CrossEntropy().on(view, x, y), torch.arange(len(x), device=x.device))
    return (gradient == 0).flatten(1).all(1)


def _share(flags: Tensor) -> float:
    return float(flags.float().mean())
