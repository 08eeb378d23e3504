"""Calibration: set firing thresholds layer by layer, in firing order, to a high percentile of what the neurons receive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from robustsnn.compute import rewire, view
from robustsnn.compute.precision import ieee
from robustsnn.conversion.frontier import CHUNK, frontier
from robustsnn.data import Samples, as_samples
from robustsnn.names import Granularity
from robustsnn.seeds import generator
from robustsnn.spiking.layer import NeuronLayer
from robustsnn.spiking.network import SpikingNetwork

CONSTANT = 100
"""Time steps of calibration on a constant input."""
BATCH = 64
"""Samples per batch if the data are not batched."""
ROW = 32
"""Values of which only the largest is looked at first, where few are searched for."""


@ieee()
def calibrate(
    net: SpikingNetwork,
    data: Any,
    percentile: float = 99.7,
    timesteps: int | None = None,
    *,
    granularity: Granularity = "layer",
    limit: int = 11,
    on_layer: Callable[[str, float], None] = lambda name, threshold: None,
) -> dict[str, Any]:
    """Return the thresholds at scale 1, by module path in firing order.

    Layers are calibrated one at a time: the network runs ``timesteps`` steps with batch statistics in its batch norms, and
    calibrated layers fire with their thresholds. The threshold of a layer is the maximum over batches of the percentile of
    everything it receives, negative values included (exact rank ``1 + round(percentile / 100 * (n - 1))``).

    Arguments:
        net: not changed; its own thresholds are not used.
        data: batches of inputs, or samples, see `first_batches`; the first ``limit`` batches are used.
        percentile: in (0, 100].
        timesteps: ``T`` of this pass; None uses 100, or for `Frames` the network's time steps.
        granularity: one threshold per ``"layer"``, or per ``"channel"`` of its input ``[T*N,C,...]``. A channel that receives
            nothing above 0 gets the largest threshold of its layer.
        on_layer: called with each layer's name and threshold (mean over channels) once it is found.

    Returns:
        Numbers, or tensors ``[C,1,...]`` that broadcast over ``[N,C,...]``; `SpikingNetwork.replace` takes both.

    Raises:
        ValueError: there are no batches, an argument is out of range, inputs are not floats in ``[0, 1]``, or a layer receives
            nothing above 0.

    Source: Ozdenizci & Legenstein 2024, section 4; after Sengupta et al. 2019.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be in (0, 100], not {percentile}")
    if granularity not in get_args(Granularity):
        raise ValueError(f"granularity must be 'layer' or 'channel', not {granularity!r}")
    used = first_batches(data, limit, net)
    if timesteps is None:
        timesteps = CONSTANT if net.signal.once else net.timesteps
    view = calibrating(net, timesteps)
    course = frontier(view, used)
    receive = course.receive if course else partial(_from_the_images, used)
    found: dict[str, Any] = {}
    for name, neuron in view.neurons.items():

        def look(x: Tensor, neuron: NeuronLayer = neuron) -> Tensor:
            return percentiles(neuron.spent(x), percentile, neuron.repeats, granularity)

        threshold = torch.stack(receive(view, name, look)).amax(0)
        largest = threshold.max()
        if not largest > 0:
            raise ValueError(
                f"the neurons of {name!r} receive nothing above 0 at percentile {percentile} (it is {largest:.4g}), so they "
                "have no threshold: use another percentile (a lower one makes the previous layers fire more), other "
                "calibration images, or train the ANN longer"
            )
        threshold = torch.where(threshold > 0, threshold, largest)
        found[name] = float(threshold) if granularity == "layer" else threshold
        view = view.replace({name: found[name]})
        on_layer(name, float(threshold.mean()))
    return found


def calibrating(net: SpikingNetwork, timesteps: int) -> SpikingNetwork:
    """Return a view for calibration: ``timesteps`` time steps, batch statistics in batch norms, otherwise in eval mode."""
    longer = net.replace(timesteps=timesteps)
    view = rewire(longer, lambda _, m: batch_statistics(m) if isinstance(m, _BatchNorm) else None).eval()
    assert isinstance(view, SpikingNetwork)
    view.channels_last = False  # allows computing channels one after another
    return view


def batch_statistics(norm: nn.Module) -> nn.Module:
    """Copy a batch norm over the same parameters, so that it always uses batch statistics and stores none."""
    copy = view(norm)
    copy._buffers.update(running_mean=None, running_var=None, num_batches_tracked=None)
    return copy


def received(net: SpikingNetwork, name: str, images: Tensor, percentile: float) -> float:
    """Return the percentile of everything that the neurons ``name`` receive on a batch ``[N,C,H,W]``; later layers do not run.
    Raises ValueError if the forward pass does not reach them."""
    neuron = net.neurons[name]
    (value,) = _from_the_images([images], net, name, lambda x: percentiles(neuron.spent(x), percentile, neuron.repeats))
    return float(value)


class _Received(Exception):
    """Ends a forward pass at the layer whose input is wanted."""


@torch.no_grad()
def _from_the_images(
    batches: Sequence[Tensor], net: SpikingNetwork, name: str, look: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """`Frontier.receive` for any body: every batch runs from the images to the neurons ``name``."""
    fresh, seen = view(net), []

    def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(look(given[0]))
        raise _Received

    fresh.neurons[name].register_forward_pre_hook(record)
    for images in batches:
        with suppress(_Received):
            fresh(images)
            raise ValueError(f"the forward pass never reaches the neurons of {name!r}: remove the layer from the network")
    return seen


def percentiles(x: Tensor, percentile: float, repeats: int = 1, granularity: Granularity = "layer") -> Tensor:
    """Return the percentile of all values ``[N,C,...]``, or of every channel, ``[C,1,...]``, by `exact_percentile`."""
    if granularity == "layer":
        return x.new_tensor(exact_percentile(x.flatten(), percentile, repeats))
    found = [exact_percentile(channel.flatten(), percentile, repeats) for channel in x.unbind(1)]
    return x.new_tensor(found).view(-1, *[1] * (x.dim() - 2))


def exact_percentile(values: Tensor, percentile: float, repeats: int = 1) -> float:
    """Return the value of rank ``1 + round(percentile / 100 * (n - 1))``, ``n = repeats * len(values)``, without a full sort.

    It needs memory for a chunk of `CHUNK` values plus the tail beyond the rank.

    >>> exact_percentile(torch.arange(101.0), 99.7)
    100.0
    """
    count = repeats * values.numel()
    rank = 1 + round(0.01 * percentile * (count - 1))
    ascending = (rank - 1) // repeats  # rank before every value is repeated ``repeats`` times
    largest = ascending >= values.numel() // 2
    keep = values.numel() - ascending if largest else ascending + 1
    tail = values.new_empty(0)
    for chunk in _high(values, keep) if largest else values.split(CHUNK):
        if len(tail) == keep:  # only values beyond the current tail can enter it
            bar = tail.min() if largest else tail.max()
            chunk = chunk[chunk > bar] if largest else chunk[chunk < bar]
        tail = torch.cat([tail, chunk])
        tail = tail if len(tail) <= keep else tail.topk(keep, largest=largest, sorted=False).values
    return float(tail.min() if largest else tail.max())


def _high(values: Tensor, keep: int) -> Iterator[Tensor]:
    """Yield the ``keep`` largest values and few others, in chunks. ``keep`` rows have a maximum of at least ``bar``."""
    rows, rest = values[: len(values) // ROW * ROW].reshape(-1, ROW), values[len(values) // ROW * ROW :]
    if keep > len(rows):
        yield from values.split(CHUNK)
        return
    tops = rows.amax(1)
    bar = tops.topk(keep, sorted=False).values.min()
    for part, top in zip(rows.split(max(1, CHUNK // ROW)), tops.split(max(1, CHUNK // ROW)), strict=True):
        found = part[~(top < bar)].flatten()  # NaN is not below
        yield found[~(found < bar)]
    yield rest


class Checked(list[Tensor]):
    """Valid batches of inputs."""


def first_batches(data: Any, limit: int, net: nn.Module) -> Checked:
    """Return the inputs of the first ``limit`` batches on the device of ``net``.

    Arguments:
        data: batches from a list, an iterator or a ``DataLoader``: tensors ``[N, ...]``, tuples that begin with them, or
            `Samples`. Or samples as `as_samples` takes them, from which fixed random batches of `BATCH` are drawn.

    Raises:
        ValueError: there are no batches, or inputs are not floats in ``[0, 1]``.
    """
    if isinstance(data, Checked):
        return Checked(data[:limit])
    if isinstance(data, Tensor):
        raise ValueError(f"calibration takes batches of images, not one tensor {list(data.shape)}: put it into a list")
    if isinstance(data, list | Iterator | DataLoader):
        used = [_checked(batch[0] if isinstance(batch, list | tuple) and batch else batch) for batch in islice(data, limit)]
    else:
        samples = as_samples(data)
        used = [x for x, _, _ in islice(samples.batches(BATCH, generator(0, "calibration")), limit)]
    if not used:
        raise ValueError("calibration needs at least one batch of images")
    device = next((parameter.device for parameter in net.parameters()), used[0].device)
    return Checked(x.to(device) for x in used)


def _checked(x: Any) -> Tensor:
    """Return the inputs of a batch if they are valid."""
    counts = isinstance(x, Samples) and x.counts
    if isinstance(x, Samples):
        x = x.batch(torch.arange(len(x), device=x.labels.device))[0]
    if not isinstance(x, Tensor):
        raise ValueError(f"a batch for calibration must be a tensor of images, or begin with one, not {type(x).__name__}")
    if not len(x):
        raise ValueError("a batch for calibration is empty: remove it")
    if not x.is_floating_point():
        raise ValueError(f"calibration images must be floats in [0, 1], not {x.dtype}: divide by 255")
    if not x.isfinite().all():
        raise ValueError("calibration images contain NaN or infinity: remove these images")
    if not counts and not 0 <= float(x.min()) <= float(x.max()) <= 1:
        raise ValueError(
            f"calibration images must be in [0, 1], but range over {float(x.min()):.4g} .. {float(x.max()):.4g}: "
            "divide by 255, and leave normalisation to the network; for numbers of events give Samples(..., counts=True)"
        )
    return x
