"""Flips: the number of events that an attack without a budget has to change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, model_validator

from robustsnn.attacks import SDA
from robustsnn.evaluation.ensemble import attempt, correct
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.intervals import median, percent, wilson
from robustsnn.evaluation.measure import Measure, Section
from robustsnn.evaluation.measures.pilot import IMAGES, pilots, strongest
from robustsnn.evaluation.member import Member
from robustsnn.evaluation.report import Row
from robustsnn.seeds import image_seeds
from robustsnn.threats import Flips

TOGETHER = 16
"""Samples per attack; progress is reported after each."""


class FlipCounts(BaseModel, frozen=True):
    """Flips that `SDA` needs on a few samples.

    Arguments:
        path: the gradient path that it follows.
        needed: per correctly classified sample the number of flips that change the prediction; None if it found none.
        events: number of events of each of these samples.
    """

    path: str
    needed: tuple[int | None, ...]
    events: tuple[int, ...]

    @model_validator(mode="after")
    def _check(self) -> FlipCounts:
        if len(self.needed) != len(self.events):
            raise ValueError("needed and events need one entry per sample")
        return self

    @property
    def found(self) -> list[int]:
        """The numbers of flips of the samples on which it succeeds."""
        return [count for count in self.needed if count is not None]


def measured(here: Evaluated) -> FlipCounts | None:
    """Attack the audit's correctly classified samples along the pilot's strongest path; None without an audit, and under other
    threats than `Flips` of binary frames."""
    asked, threat, path = here.settings, here.threats[-1], strongest(here)
    if not (asked.audit_images and path and isinstance(threat, Flips) and threat.most == 1):
        return None
    right = correct(here.target, pilots(here.data, min(IMAGES, asked.audit_images), here.seed).to(here.device))
    needed, events = list[int | None](), list[int]()
    for x, y, ids in right.batches(min(TOGETHER, here.batch)):
        here.on_progress("flips", len(events) / len(right))
        every = Flips(x[:1].numel())
        seeds = image_seeds(ids, here.seed, "flips")
        adv, broken, _ = attempt(Member(SDA(), every, path), here.target, x, y, seeds, "any")
        changed = every.changed(adv, x).tolist()
        needed += [count if fooled else None for count, fooled in zip(changed, broken.tolist(), strict=True)]
        events += x.flatten(1).sum(1, dtype=torch.float64).long().tolist()
    here.on_progress("flips", 1.0)
    return FlipCounts(path=str(path), needed=tuple(needed), events=tuple(events))


ABOUT = (
    "SDA without a budget on a few correctly classified samples, along the pilot's strongest gradient path: the share of them "
    "that it gets misclassified, and the number of events that it adds or removes. Mean over the successes; median over all "
    "samples, where a failure counts as more than any number, with its distribution-free 95 % interval. An upper bound: other "
    "attacks may need fewer flips. -: more than any number, or too few samples."
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of the flips that each network withstands."""
    head = ["network", "samples", "success in %", "mean", "median", "median in % of the events", "gradient path"]
    lines = [[row.network, *_cells(found)] for row in rows if (found := row.report.found(FLIPS))]
    return [Section("flips", "Flips needed", ABOUT, (head, lines))]


def _cells(flips: FlipCounts) -> list[str]:
    counts = [math.inf if count is None else count for count in flips.needed]
    shares = [100 * count / max(1, events) for count, events in zip(counts, flips.events, strict=True)]
    success = percent(wilson(len(flips.found), len(counts))) if counts else "-"
    mean = f"{sum(flips.found) / len(flips.found):.1f}" if flips.found else "-"
    return [str(len(counts)), success, mean, _spelled(counts, ".4g"), _spelled(shares, ".2g"), flips.path]


def _spelled(values: Sequence[float], digits: str) -> str:
    """Format a median with its interval; a dash stands for more than any number, or for too few samples."""
    middle, low, high = (f"{value:{digits}}" if math.isfinite(value) else "-" for value in median(values))
    return f"{middle} ({low} to {high})"


FLIPS = Measure("flips", FlipCounts, measured, sections)
