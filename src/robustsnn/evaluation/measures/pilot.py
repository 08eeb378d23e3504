"""The pilot: tests every gradient path alone on a few images, to rank the paths and find those without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from robustsnn.attacks import CrossEntropy, ascent
from robustsnn.attacks.goals import begin
from robustsnn.attacks.gradient import input_gradient
from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Target, attempt, correct
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Measure, Section, side_by_side
from robustsnn.evaluation.member import PUBLISHED_PATHS, SCALED_PATHS, Member, leading, members
from robustsnn.evaluation.report import Row
from robustsnn.seeds import image_seeds
from robustsnn.types import GradientPath, Threat

IMAGES, FEW = 64, 16
"""Number of pilot images: of a ranked protocol, and at least that of others, whose pilot only serves the audit."""


class PathFigures(BaseModel, frozen=True):
    """Results of one gradient path: the shares of pilot images that PGD-5 breaks, and that have no usable gradient."""

    broken: float
    zero_gradient: float


class Pilot(BaseModel, frozen=True):
    """Results of the published, scaled and protocol's paths, each alone on a few images, the strongest first."""

    paths: dict[str, PathFigures]


def pilots(data: Samples, count: int, seed: int) -> Samples:
    """Select ``count`` images of ``data`` by their ids and the seed, independently of their order."""
    return data.take(image_seeds(data.ids, seed, "pilot").argsort()[:count])


def measured(here: Evaluated) -> Pilot | None:
    """Run the pilot at the largest radius; None if neither the protocol nor the audit needs it."""
    if not (here.protocol.ranked or here.settings.audit_images):
        return None
    count = IMAGES if here.protocol.ranked else min(IMAGES, max(FEW, here.settings.audit_images or 0))
    few = pilots(here.data, count, here.seed) if here.pilot_images is None else here.pilot_images
    largest = here.threats[-1]
    paths = _tested(here)
    found = pilot(
        here.target,
        few.to(here.device),
        paths,
        largest,
        here.seed,
        lambda number: here.on_progress("pilot", (number + 1) / len(paths)),
    )
    return Pilot(paths={str(path): figures for path, figures in found.items()})


def ranking(here: Evaluated) -> list[GradientPath]:
    """Return the published and the scaled paths, the strongest first."""
    found, known = here.found(PILOT), {str(path): path for path in _known(here)}
    return [known[name] for name in found.paths if name in known] if found else []


def strongest(here: Evaluated) -> GradientPath | None:
    """Return the strongest path of the pilot, which may be one of the protocol's own; None without a pilot."""
    found = here.found(PILOT)
    return next((path for path in _tested(here) if str(path) == next(iter(found.paths))), None) if found else None


def _tested(here: Evaluated) -> list[GradientPath]:
    own = [member for ensemble in here.groups.values() for member in members(ensemble, here.threats[-1], here.net)]
    return list(dict.fromkeys([*_known(here), *(member.path for member in own if member.white_box)]))


def _known(here: Evaluated) -> list[GradientPath]:
    return leading(here.net, (*PUBLISHED_PATHS, *SCALED_PATHS))


def pilot(
    target: Target,
    images: Samples,
    paths: Sequence[GradientPath],
    threat: Threat,
    seed: int,
    on_path: Callable[[int], None] = lambda number: None,
) -> dict[GradientPath, PathFigures]:
    """Test every path alone on the correctly classified images, the strongest first; all 0 if no image is correct."""
    right = correct(target, images)
    if not len(right):
        return {path: PathFigures(broken=0.0, zero_gradient=0.0) for path in paths}
    x, y, ids = next(right.batches(len(right)))
    found = {}
    for number, path in enumerate(paths):
        member = Member(ascent(threat, 5), threat, path)
        broken = attempt(member, target, x, y, image_seeds(ids, seed, "pilot"), "any").broken
        found[path] = PathFigures(broken=_share(broken), zero_gradient=_share(without_gradient(path(target.guide), x, y)))
        on_path(number)
    return dict(sorted(found.items(), key=lambda item: -item[1].broken))


def without_gradient(view: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return which images have no usable gradient of the cross-entropy, ``[N]``: every value is 0 or not finite."""
    begin(view, len(x))
    gradient = input_gradient(view, x, CrossEntropy().on(view, x, y), torch.arange(len(x), device=x.device))
    return (gradient == 0).flatten(1).all(1)


def _share(flags: Tensor) -> float:
    return float(flags.float().mean())


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of every gradient path's results."""
    found = [(row.network, pilot.paths.items()) for row in rows if (pilot := row.report.found(PILOT))]
    cells = [(name, {path: f"{100 * f.broken:.1f} / {100 * f.zero_gradient:.1f}" for path, f in each}) for name, each in found]
    about = "PGD-5 along each path on a few samples at the largest radius: percent broken / without a usable gradient."
    return [Section("alone", "Gradient paths alone", about, side_by_side("gradient path", cells))]


PILOT = Measure("pilot", Pilot, measured, sections)
