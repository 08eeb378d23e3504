"""Conversion of a trained ANN to a spiking network that works before any finetuning."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.compute import copied, rewire, unwrapped, view
from robustsnn.compute.precision import ieee
from robustsnn.conversion.calibration import calibrate, first_batches
from robustsnn.conversion.heights import heights_of, scaled
from robustsnn.conversion.tracing import Layer, rectified, trace
from robustsnn.data.contract import a_network, takes
from robustsnn.models import QCFS
from robustsnn.names import BatchNorm, Granularity, one_line
from robustsnn.spiking.dynamics import Dynamics
from robustsnn.spiking.network import Slot, SpikingNetwork
from robustsnn.spiking.signal import Constant, Signal
from robustsnn.spiking.spiking import Spiking


@dataclass(frozen=True)
class ConversionReport:
    """A report of what conversion did.

    Arguments:
        layers: every layer in execution order, with what became of it.
        calibrated: thresholds at scale 1 by module path, in firing order; the mean over channels if there are several.
        scale: factor on the thresholds.
        runs_once: neurons whose input is the same at every step and computed once; empty if the image is repeated instead.
        remarks: warnings before the network is used.
    """

    layers: tuple[Layer, ...]
    calibrated: dict[str, float]
    scale: float
    runs_once: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [f"{layer.place:<32} {layer.kind:<18} {layer.action}" for layer in self.layers]
        rows += [f"{name:<32} threshold {value:.4g} x {self.scale:g}" for name, value in self.calibrated.items()]
        return "\n".join([*rows, *self.remarks])


UNSCALED = (
    "spikes have height 1, but biases are those of the ANN, because no batch norm scales them: finetune, or convert with "
    "batch_norm='keep'"
)


@ieee()
def convert(
    ann: nn.Module,
    data: Any,
    dynamics: Dynamics = Dynamics(),
    scale: float = 0.3,
    percentile: float = 99.7,
    calibration_timesteps: int | None = None,
    batch_norm: BatchNorm = "reestimate",
    *,
    timesteps: int | None = None,
    signal: Signal = Constant(),
    granularity: Granularity = "layer",
    allow: Collection[str] = (),
    limit: int = 11,
    on_layer: Callable[[str, float], None] = lambda name, threshold: None,
) -> SpikingNetwork:
    """Convert a trained ANN to a spiking network with the same weights and calibrated, trainable thresholds.

    Arguments:
        ann: any module of ReLU, convolutions, linear layers, norms, average pools, additions, concatenations and reshapes. It
            is not changed; the result is in its mode (train or eval).
        data: batches of inputs for the signal, from a list or a ``DataLoader``, or samples as `as_samples` takes them; the
            first ``limit`` batches are used for calibration.
        dynamics: of the result; ``timesteps`` overrides its number of time steps.
        scale: factor on all calibrated thresholds; below 1 lowers latency.
        percentile, calibration_timesteps: see `calibrate`.
        batch_norm: ``"reestimate"`` estimates running statistics on the batches at the target time steps; ``"reset"`` sets
            them to (0, 1), as published. ``"keep"`` keeps those of the ANN, takes percentiles of what the ANN's layers receive
            as thresholds, and multiplies the next weights by them. With soft reset and many time steps, the network then
            computes what the ANN does, with activations clipped at ``scale`` times the percentile.
        signal: `Constant` images, or `Frames` ``[N,T,C,H,W]``.
        granularity: one threshold per ``"layer"`` or per ``"channel"``.
        allow: ``{"max_pool"}`` allows max-pooling.
        on_layer: called with each layer's name and threshold once it is found.

    Returns:
        The network; its ``conversion_report`` lists what was done with every layer.

    Raises:
        ValueError: a layer cannot be converted (the message names a remedy), or arguments or inputs are out of range.

    `QCFS` activations have learned their thresholds and are not calibrated: convert them with ``scale=1``,
    ``batch_norm="keep"`` and neurons ``LIF(reset="subtract", start=0.5)``.

    Example:
        >>> ann = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> net = convert(ann, [torch.rand(8, 1, 2, 2)], timesteps=4)
        >>> net(torch.rand(5, 1, 2, 2)).shape, list(net.thresholds)
        (torch.Size([5, 2]), ['2'])

    Source: Ozdenizci & Legenstein 2024, section 4.
    """
    if not scale > 0:
        raise ValueError(f"scale must be greater than 0, not {scale}; the published value is 0.3")
    if batch_norm not in get_args(BatchNorm):
        raise ValueError(f"batch_norm must be one of {', '.join(get_args(BatchNorm))}, not {batch_norm!r}")
    if not isinstance(dynamics, Dynamics):
        raise ValueError(f"dynamics must be Dynamics(...), not {dynamics!r}: for a number of time steps write timesteps=")
    a_network(ann)
    ann = unwrapped(ann)
    dynamics = dynamics if timesteps is None else replace(dynamics, timesteps=timesteps)
    if isinstance(ann, Spiking):
        raise ValueError(
            f"{type(ann).__name__} is already a spiking network: use net.replace(timesteps=...) to change how it runs"
        )
    used = first_batches(data, limit, ann)
    takes(ann, signal.stills(used[0]))
    learned = {name: module.lifted.detach() for name, module in ann.named_modules() if isinstance(module, QCFS)}
    body, kept = copied(ann), dict[str, Tensor]()
    if batch_norm == "keep" and not learned:
        if granularity != "layer":
            raise ValueError("batch_norm='keep' uses one threshold per layer: use granularity='layer'")
        traced, _ = trace(body, allow)
        _check_same(rectified(body), traced, signal.stills(used[0]))
        heights = heights_of(traced, map(signal.stills, used), percentile, dynamics.timesteps if signal.once else 1)
        units = scaled(traced, {name: scale * height for name, height in heights.items()})
        body, kept = units.body, {name: used[0].new_tensor(value / scale) for name, value in units.thresholds.items()}
        for name, threshold in kept.items():
            on_layer(name, float(threshold))
    net = spiking(body, used[0], dynamics, allow=allow, signal=signal)
    layers, runs_once = net.conversion_report.layers, net.conversion_report.runs_once
    found = kept | {layer.place: learned[layer.origin] for layer in layers if layer.origin in learned}
    if set(found) != set(net.thresholds):
        settings: Any = {"limit": limit, "on_layer": on_layer, "granularity": granularity}
        calibrated = calibrate(net, used, percentile, calibration_timesteps, **settings)
        found = {name: torch.as_tensor(value) for name, value in calibrated.items()} | found
    net = net.replace({name: scale * value for name, value in found.items()})
    remarks = () if kept or learned or any(isinstance(module, _BatchNorm) for module in ann.modules()) else (UNSCALED,)
    means = {name: float(value.mean()) for name, value in found.items()}
    net.conversion_report = ConversionReport(layers, means, scale, runs_once, remarks)
    renew(net, batch_norm, used)
    return net


def spiking(
    ann: nn.Module,
    images: Tensor,
    dynamics: Dynamics = Dynamics(),
    threshold: float = 1.0,
    *,
    allow: Collection[str] = (),
    signal: Signal = Constant(),
) -> SpikingNetwork:
    """Convert the architecture of ``ann``, over its own tensors, to a spiking network with the same threshold everywhere.

    Linear layers without a bias get a trainable zero bias. A dry run on a few ``images`` finds the firing order and the
    neurons with a constant input; the part before them runs once only if the result is verified to be equal. Raises ValueError
    if a layer cannot be converted or the body mixes the images of a batch.
    """
    ann = unwrapped(ann)
    traced, layers = trace(ann, allow)
    body = view(traced)
    for linear in body.modules():
        if isinstance(linear, nn.Linear) and linear._parameters["bias"] is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
    stills = signal.stills(images)
    slots = _slots(body, stills)
    _check_same(rectified(ann), body, stills)
    report = ConversionReport(layers, {}, 1.0, tuple(slot.name for slot in slots if slot.first and signal.once))
    net = SpikingNetwork(body, dynamics, signal, slots, report)
    with torch.no_grad():
        for value in net.thresholds.values():
            value.fill_(threshold)
    return net


@torch.no_grad()
def _check_same(ann: nn.Module, body: nn.Module, images: Tensor) -> None:
    few = images[:3]
    expected, found = (view(net).eval()(few.clone()) for net in (ann, body))
    if not torch.allclose(expected, found, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"the traced body does not compute what {type(ann).__name__} does: an in-place operation changes a view of a "
            "tensor that is read later; use out-of-place operations"
        )


@torch.no_grad()
def _slots(body: nn.Module, images: Tensor) -> list[Slot]:
    """Find the firing order and the neurons with a constant input by a dry run at two time steps."""
    few = images[torch.arange(3) % len(images)]
    together = ValueError(
        f"{type(body).__name__} mixes the images of a batch (a fixed batch size or an operation over the batch), so time "
        "cannot be folded into the batch: process every image independently"
    )
    plain = view(body).eval()
    try:
        once = plain(few)
        alone = torch.cat([plain(image[None]) for image in few])
    except RuntimeError as error:
        raise ValueError(
            f"{type(body).__name__} cannot run on the calibration images {list(few.shape)} "
            f"({one_line(error)}): use images of its training shape, and support batches of any size"
        ) from None
    if once.shape != alone.shape or not torch.allclose(once, alone, rtol=1e-4, atol=1e-5):
        raise together
    expected = torch.cat([once, once])
    for at_input in (False, True):
        reached: list[Slot] = []
        probed = view(body).eval()
        for name, module in probed.named_modules():
            if isinstance(module, nn.ReLU):

                def note(_: nn.Module, given: tuple[Tensor, ...], name: str = name, reached: list[Slot] = reached) -> Any:
                    """Record the neurons, and begin two time steps here if the input has no time yet."""
                    (x,) = given
                    reached.append(Slot(name, len(x) == len(few)))
                    return torch.cat([x, x]) if reached[-1].first else x

                module.register_forward_pre_hook(note)
        try:
            out = probed(torch.cat([few, few]) if at_input else few)
        except (RuntimeError, ValueError):  # parts with and without time do not match
            continue
        if out.shape == expected.shape and torch.allclose(out, expected, rtol=1e-4, atol=1e-5):
            return reached
    raise together


def renew(net: SpikingNetwork, batch_norm: BatchNorm, batches: Iterable[Tensor]) -> None:
    """Update the running statistics that an ANN left in ``net`` according to ``batch_norm``; see `convert`."""
    if batch_norm != "keep":
        reestimate(net, batches if batch_norm == "reestimate" else ())


@torch.no_grad()
def reestimate(net: SpikingNetwork, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch norm of ``net`` to their mean over the batches at the network's time steps, or
    to (0, 1) without batches."""

    def counting(_: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, _BatchNorm):
            return None
        module.reset_running_stats()
        fresh = view(module).train()
        fresh.momentum = None  # mean over all batches
        return fresh

    fresh = rewire(view(net).eval(), counting)
    for images in batches:
        fresh(images)
