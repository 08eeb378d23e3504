"""A few adversarial samples for display: those that broke the network, recomputed."""

from __future__ import annotations

import base64
import math

import torch
from pydantic import Base64Bytes, BaseModel, PositiveInt, model_validator
from torch import Tensor

from robustsnn.evaluation.ensemble import attempt
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Measure
from robustsnn.evaluation.measures.worst_case import WORST_CASE, ensembles
from robustsnn.evaluation.results import Attacked
from robustsnn.seeds import image_seeds
from robustsnn.threats import EventThreat


class Example(Attacked, frozen=True):
    """A sample before and after a successful attack.

    Arguments:
        image, label, seen_as: the sample's id, its label, and the predicted class of the adversarial sample.
        member: the member of the ensemble that broke it.
        shape: ``[C,H,W]``, ``[T,C,H,W]``, or the shape of samples of another rank.
        original, adversarial: values rounded to bytes, in base64.
        counts: whether the bytes are numbers of events; otherwise they are 255ths of values in ``[0, 1]``.
    """

    image: int
    label: int
    seen_as: int
    member: str
    shape: tuple[PositiveInt, ...]
    original: Base64Bytes
    adversarial: Base64Bytes
    counts: bool = False

    @model_validator(mode="after")
    def _check(self) -> Example:
        if not len(self.original) == len(self.adversarial) == math.prod(self.shape):
            raise ValueError("an example needs one byte per value")
        return self


class Examples(BaseModel, frozen=True):
    """A few adversarial samples."""

    shown: tuple[Example, ...]


@torch.no_grad()
def measured(here: Evaluated) -> Examples | None:
    """Recompute samples that the strongest ensemble broke at the largest radius, from the member that broke most.

    A member's result depends only on image, member and seed, so images need not be stored while attacks run. Other batches
    may round differently; a sample that does not break the network again is omitted.
    """
    worst_case, count = here.found(WORST_CASE), here.settings.shown
    if not (worst_case and count):
        return None
    largest = [result for result in worst_case.results if result.eps == here.threats[-1].eps]
    result = min(largest, key=lambda result: result.robust.value)
    ensemble = ensembles(here)[result.attack, result.eps]
    counts = isinstance(here.threats[-1], EventThreat)  # others turn counts into real numbers in [0, 1]
    broken_by, found = torch.tensor(result.broken_by), list[Example]()
    for number in sorted(range(len(ensemble)), key=lambda i: -result.broken[i]):
        index = (broken_by == number).nonzero().flatten()[: count - len(found)]
        if not len(index):
            break
        x, y, ids = here.samples(index)
        with torch.enable_grad():
            adv, broken, _ = attempt(
                ensemble[number], here.crafted, x, y, image_seeds(ids, here.seed, result.attack), result.rule
            )
        seen = here.target.judged(adv).argmax(1)
        for i in broken.nonzero().flatten().tolist():
            before, after = (_bytes(values[i] if counts else 255 * values[i]) for values in (x, adv))
            found.append(
                Example(
                    image=int(ids[i]),
                    label=int(y[i]),
                    seen_as=int(seen[i]),
                    attack=result.attack,
                    member=ensemble[number].name or str(ensemble[number]),
                    eps=result.eps,
                    threat=result.threat,
                    shape=tuple(x[i].shape),
                    original=before,
                    adversarial=after,
                    counts=counts,
                )
            )
    return Examples(shown=tuple(found)) if found else None


def _bytes(values: Tensor) -> bytes:
    """Round values to bytes and encode them in base64, as in `Example`."""
    return base64.b64encode(values.round().clamp(0, 255).to(torch.uint8).cpu().numpy().tobytes())


EXAMPLES = Measure("examples", Examples, measured)
