"""Activity of neurons: spikes per image, silent neurons, and saturated neurons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measure import Measure, Section, side_by_side
from robustsnn.evaluation.report import Row
from robustsnn.spiking import SpikingNetwork


class Activity(BaseModel, frozen=True):
    """Means over images, per layer of neurons.

    Arguments:
        spikes: spikes per image, summed over neurons and time steps.
        silent: share of neurons that never fire during an image.
        saturated: share of neurons that fire at every time step, so more current cannot raise their rate.
    """

    spikes: dict[str, float]
    silent: dict[str, float]
    saturated: dict[str, float]


@torch.no_grad()
def activity(net: SpikingNetwork, batches: Iterable[Tensor]) -> Activity:
    """Measure the activity of a network's neurons on batches of images ``[N, ...]``."""
    fresh, images = view(net).eval(), 0
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in fresh.neurons}
    for name, neuron in fresh.neurons.items():

        def count(_: nn.Module, __: object, spikes: Tensor, name: str = name) -> None:
            fired = (spikes != 0).unflatten(0, (net.timesteps, -1)).sum(0).flatten(1)
            shares = torch.stack([fired == 0, fired == net.timesteps]).double().mean(2).sum(1)
            sums[name] += torch.stack([fired.sum().double(), *shares]).cpu()

        neuron.register_forward_hook(count)
    for x in batches:
        fresh(x)
        images += len(x)
    spikes, silent, saturated = ({name: float(each[i]) / images for name, each in sums.items()} for i in range(3))
    return Activity(spikes=spikes, silent=silent, saturated=saturated)


def measured(here: Evaluated) -> Activity | None:
    """Measure a `SpikingNetwork`; None for ANNs and networks of other libraries, whose spikes are not accessible."""
    if not isinstance(here.net, SpikingNetwork):
        return None
    found = activity(here.net, (x.to(here.device) for x, _, _ in here.mine.batches(here.batch)))
    return Activity(**{name: here.mean(values) for name, values in found})


ABOUT = (
    "Spikes per sample in each layer, the share of silent neurons (no spike during the sample), and the share of saturated "
    "neurons (a spike at every time step, so more current cannot raise their rate)."
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return a table of spikes and of silent and saturated neurons per layer."""
    found = [(row.network, busy) for row in rows if (busy := row.report.found(ACTIVITY))]
    cells = [(f"{network}: spikes / silent / saturated", _cells(busy)) for network, busy in found]
    return [Section("activity", "Activity", ABOUT, side_by_side("neurons", cells))]


def _cells(busy: Activity) -> dict[str, str]:
    return {
        name: f"{spikes:,.0f} / {busy.silent[name]:.1%} / {busy.saturated[name]:.1%}" for name, spikes in busy.spikes.items()
    }


ACTIVITY = Measure("activity", Activity, measured, sections)
