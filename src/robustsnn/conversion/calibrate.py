"""Firing thresholds from data: layer by layer, in firing order, a high percentile of what the neurons receive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.spiking.network import Neuron, SpikingNetwork
from robustsnn.spiking.rewire import rewire

CHUNK = 1 << 22  # values looked at together: bounds the memory of the percentile


def calibrate(
    net: SpikingNetwork,
    batches: Iterable[Tensor | tuple[Tensor, ...]],
    percentile: float = 99.7,
    timesteps: int = 100,
    *,
    limit: int = 11,
    on_layer: Callable[[str, float], None] = lambda name, threshold: None,
) -> dict[str, float]:
    """Thresholds at scale 1, by module path in firing order.

    One layer at a time: the network runs ``timesteps`` steps with batch statistics in its batch norms, layers already
    calibrated fire with their thresholds, and the layer's threshold is the maximum over the batches of the percentile of
    everything it receives, negative values included (rank ``1 + round(percentile / 100 * (n - 1))``, exact).

    Arguments:
        net: left untouched; its own thresholds play no part.
        batches: images ``[N,C,H,W]`` or tuples that begin with images; the first ``limit`` are used.
        percentile: in (0, 100].
        timesteps: ``T`` of this pass.
        on_layer: told each layer's name and threshold when it is found.

    Raises:
        ValueError: no batches, a percentile out of range, images that are not finite, or a layer that receives nothing
            above 0.

    Source: Ozdenizci & Legenstein 2024, section 4; after Sengupta et al. 2019.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be in (0, 100], not {percentile}")
    used = [images_of(batch) for batch in islice(batches, limit)]
    if not used or not all(len(images) for images in used):
        raise ValueError("calibration needs at least one batch of images")
    view = calibrating(net, timesteps)
    found: dict[str, float] = {}
    for name in net.thresholds:
        prefix = view.replace(found)
        threshold = max(received(prefix, name, images, percentile) for images in used)
        if not threshold > 0:
            raise ValueError(
                f"the neurons of {name!r} receive nothing above 0 at percentile {percentile} (it is {threshold:.4g}), so no "
                "threshold fits: use a higher percentile, other calibration images, or train the ANN longer"
            )
        found[name] = threshold
        on_layer(name, threshold)
    return found


def images_of(batch: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The images of a batch that may come with labels.

    Raises:
        ValueError: NaN or infinity in them.
    """
    images = batch if isinstance(batch, Tensor) else batch[0]
    if not images.isfinite().all():
        raise ValueError("calibration images hold NaN or infinity: clean them first")
    return images


def calibrating(net: SpikingNetwork, timesteps: int) -> SpikingNetwork:
    """A view as calibration runs it: that many time steps, batch statistics in its batch norms, otherwise in eval mode."""
    longer = net.replace(timesteps=timesteps)
    view = rewire(longer, lambda _, m: batch_statistics(m) if isinstance(m, _BatchNorm) else None).eval()
    assert isinstance(view, SpikingNetwork)
    return view


def batch_statistics(norm: nn.Module) -> nn.Module:
    """A copy of a batch norm over the same parameters that always uses the batch's statistics and keeps none."""
    copy = rewire(norm, lambda _, __: None)
    copy._buffers.update(running_mean=None, running_var=None, num_batches_tracked=None)
    return copy


class _Received(Exception):
    """Ends a forward pass at the layer whose input was wanted."""

    def __init__(self, value: float) -> None:
        self.value = value


@torch.no_grad()
def received(net: SpikingNetwork, name: str, images: Tensor, percentile: float) -> float:
    """The percentile of everything the neurons ``name`` receive on a batch ``[N,C,H,W]``; nothing behind them is computed.

    Raises:
        ValueError: the forward pass never gets there.
    """

    class Record(nn.Module):
        def __init__(self, repeats: int) -> None:
            super().__init__()
            self.repeats = repeats

        def forward(self, x: Tensor) -> Tensor:
            raise _Received(exact_percentile(x.flatten(), percentile, self.repeats))

    steps = net.dynamics.timesteps
    view = net.rewired(lambda path, neuron: Record(steps if neuron.first else 1) if path == name else _same(neuron))
    try:
        view(images)
    except _Received as received:
        return received.value
    raise ValueError(f"the neurons of {name!r} are never reached: remove the layer from the network")


def _same(neuron: Neuron) -> Neuron:
    return Neuron(neuron.threshold, neuron.dynamics, first=neuron.first, fire=neuron.fire)


def exact_percentile(values: Tensor, percentile: float, repeats: int = 1) -> float:
    """The value of rank ``1 + round(percentile / 100 * (n - 1))`` among ``n = repeats * len(values)``, without a full sort.

    Memory: a chunk of `CHUNK` values plus the tail beyond the rank.

    >>> exact_percentile(torch.arange(101.0), 99.7)
    100.0
    """
    count = repeats * values.numel()
    rank = 1 + round(0.01 * percentile * (count - 1))
    ascending = (rank - 1) // repeats  # position among the values themselves, which each stand ``repeats`` times
    largest = ascending >= values.numel() // 2
    keep = values.numel() - ascending if largest else ascending + 1
    tail = values.new_empty(0)
    for chunk in values.split(CHUNK):
        if len(tail) == keep:  # only what beats the present tail can enter it
            bar = tail.min() if largest else tail.max()
            chunk = chunk[chunk > bar] if largest else chunk[chunk < bar]
        merged = torch.cat([tail, chunk])
        tail = merged.topk(min(keep, len(merged)), largest=largest, sorted=False).values
    return float(tail.min() if largest else tail.max())
