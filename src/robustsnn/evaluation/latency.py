"""How many time steps a network needs: what it classifies correctly after each of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from robustsnn.compute.sums import running_sum
from robustsnn.data import as_samples
from robustsnn.spiking import SpikingNetwork


@torch.no_grad()
def correct_over_time(net: nn.Module, data: Any, timesteps: int | None = None, batch: int = 250) -> tuple[int, ...]:
    """How many images are classified correctly after 1, 2, ... time steps, by the same weights and thresholds.

    One pass tells it all, since what a network does in its first steps does not depend on how many follow; layers that wait
    for one another (``synchronous``) run once for every number of steps.

    Arguments:
        data: as `as_samples` takes it; net: empty for one that does not spike.
        timesteps: up to which; twice those of the network if None, or as many as there are `Frames`.
    """
    if not isinstance(net, SpikingNetwork):
        return ()
    data = as_samples(data)
    steps = (2 * net.timesteps if net.signal.once else net.timesteps) if timesteps is None else timesteps
    each = range(1, steps + 1) if net.dynamics.synchronous else [steps]
    views = [net.replace(timesteps=t).eval() for t in each]
    device = next(net.parameters(), data.labels).device
    hits = torch.zeros(steps, dtype=torch.int64, device=device)
    for x, y, _ in data.batches(batch * net.timesteps // steps + 1):
        if net.dynamics.synchronous:
            logits = torch.stack([view(net.signal.beginning(x.to(device), view.timesteps)) for view in views])
        else:
            logits = running_sum(views[0].steps(x.to(device)), 0)  # sums decide as means do
        hits += (logits.argmax(-1) == y.to(device)).sum(1)
    return tuple(hits.tolist())
