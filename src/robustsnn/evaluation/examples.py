"""A few adversarial images to look at: the very ones that broke the network, made once more."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import torch
from torch import Tensor

from robustsnn.data import Samples
from robustsnn.evaluation.ensemble import Target, attempt
from robustsnn.evaluation.members import Member
from robustsnn.evaluation.results import Example, Result
from robustsnn.seeds import image_seeds


@torch.no_grad()
def examples(
    target: Target, data: Samples, result: Result, ensemble: Sequence[Member], count: int, seed: int
) -> tuple[Example, ...]:
    """Images that the members of an ensemble broke, those of the member that broke most first.

    What a member makes of an image depends on nothing but image, member and seed, so nothing has to be kept while attacks
    run. Few images in other batches may round otherwise: what does not break the network this time is left out.

    Arguments:
        target: the attacked network.
        data: the images of ``result``.
        result: what the ensemble gave.
        ensemble: its members, in the order in which they ran.
        count: how many at most.
        seed: of the evaluation.
    """
    broken_by, found = torch.tensor(result.broken_by), list[Example]()
    device = next(target.judged.parameters(), data.labels).device
    for number in sorted(range(len(ensemble)), key=lambda i: -result.broken[i]):
        index = (broken_by == number).nonzero().flatten()[: count - len(found)]
        if not len(index):
            break
        some = data.take(index.to(data.labels.device)).to(device)
        x, y = some.batch(torch.arange(len(some), device=device))
        seeds = image_seeds(some.ids, seed, result.attack)
        with torch.enable_grad():
            adv, broken = attempt(ensemble[number], target, x, y, seeds, result.rule)
        seen = target.judged(adv).argmax(1)
        for i in broken.nonzero().flatten().tolist():
            before, after = (_bytes(image[i]) for image in (x, adv))
            found.append(
                Example(
                    image=int(some.ids[i]),
                    label=int(y[i]),
                    seen_as=int(seen[i]),
                    attack=result.attack,
                    member=ensemble[number].name or str(ensemble[number]),
                    eps=result.eps,
                    threat=result.threat,
                    shape=tuple(x[i].shape),
                    original=before,
                    adversarial=after,
                )
            )
    return tuple(found)


def _bytes(image: Tensor) -> bytes:
    """Its pixels rounded to bytes, in base64, as `Example` takes them."""
    return base64.b64encode((image * 255).round().to(torch.uint8).cpu().numpy().tobytes())
