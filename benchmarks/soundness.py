"""Certificates against random members of the threat: no change within a certified threat may break a certified sample.

Every certificate is tested at the strongest threat that it covers: its own L2 radius, its own number of flips, or the radius
of its intervals. Of L-infinity, every second member is a corner of the box. A smoothed network votes over `COPIES` noisy
copies of each member; where the label loses that vote, over `JUDGES` others, and a significant loss is a break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from robustsnn.certification import Certificates, GaussianCertificates, Method, Smoothing, SparseCertificates, SparseSmoothing
from robustsnn.certification.smoothing import decided
from robustsnn.certification.voting import votes
from robustsnn.data import Samples
from robustsnn.seeds import image_seeds, noise
from robustsnn.threats import L2, Flips, Linf
from robustsnn.types import Threat

COPIES, JUDGES, BATCH = 16, 1000, 500
"""Noisy copies of every member, of those that lose the first vote, and members per batch."""


def strongest(found: Certificates, index: int, balls: tuple[Threat, ...]) -> Iterator[Threat]:
    """The strongest threats that the certificate of a sample covers; none if it is not certified."""
    match found:
        case GaussianCertificates():
            if found.radii[index]:
                yield L2(found.radii[index] * (1 - 1e-6))
        case SparseCertificates():
            budgets = range(1, sum(found.most))
            if held := [budget for budget in budgets if found.certified(Flips(budget))[index]]:
                yield Flips(max(held))
        case _:
            yield from (ball for ball in balls if found.certified(ball)[index])


def members(x: Tensor, threat: Threat, numbers: Tensor, sample: int) -> Tensor:
    """Random members of a threat around one sample ``[1, ...]``, one per number."""
    every = x.expand(len(numbers), *x.shape[1:]).contiguous()
    found = threat.sample(every, noise(image_seeds(numbers, "member", sample)))
    if isinstance(threat, Linf):
        corners = threat.project(every + threat.eps * (found - every).sign(), every)
        found = torch.where((numbers % 2 == 0).view(-1, *[1] * (x.dim() - 1)), corners, found)
    assert threat.contains(found, every).all()
    return found


@torch.no_grad()
def lost(net: nn.Module, method: Method, x: Tensor, label: int, numbers: Tensor, sample: int) -> int:
    """How many members of one sample the certified network misclassifies."""
    if not isinstance(method, Smoothing | SparseSmoothing):
        return int((net(x).argmax(1) != label).sum())
    first = votes(net, x, numbers, method.disturb, range(COPIES), "first vote", sample)
    doubtful = (first[:, label] <= COPIES // 2).nonzero().flatten()
    count = 0
    for number in doubtful.tolist():
        one, ids = x[number : number + 1], numbers[number : number + 1]
        counts = votes(net, one, ids, method.disturb, range(COPIES, COPIES + JUDGES), "second vote", sample)
        count += int(decided(counts, method.alpha)) not in (label, -1)
    return count


def examined(
    net: nn.Module,
    data: Samples,
    method: Method,
    found: Certificates,
    images: int,
    count: int,
    known: dict[str, int],
    keep: Callable[[dict[str, int]], None],
    balls: tuple[Threat, ...],
) -> dict[str, int]:
    """Test the certificates of the first images that are not yet in ``known``: how many of ``count`` members broke each.

    Arguments:
        keep: called with all results after each sample.
        balls: the threats of intervals.

    Returns:
        Broken members by "index threat".
    """
    for index in range(min(images, len(found.labels))):
        x, y, ids = data.batch(torch.tensor([index]))[0], found.labels[index], int(data.ids[index])
        for threat in strongest(found, index, balls):
            key = f"{index} {threat.spelled}"
            if key in known:
                continue
            known[key] = sum(
                lost(net, method, members(x, threat, numbers, ids), y, numbers, ids)
                for numbers in torch.arange(count).split(BATCH)
            )
            keep(known)
    return known
