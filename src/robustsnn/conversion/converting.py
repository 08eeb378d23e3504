"""From a trained ANN to a spiking network that is usable, and measurable, before any finetuning."""

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
from robustsnn.data.contract import takes
from robustsnn.models import QCFS
from robustsnn.names import BatchNorm, Granularity, one_line
from robustsnn.spiking.dynamics import Dynamics
from robustsnn.spiking.network import Slot, SpikingNetwork
from robustsnn.spiking.signal import Constant, Signal
from robustsnn.spiking.spiking import Spiking


@dataclass(frozen=True)
class ConversionReport:
    """What conversion did.

    Arguments:
        layers: every layer in order of execution, with what became of it.
        calibrated: thresholds at scale 1 by module path, in firing order; their mean where a layer has one per channel.
        scale: what they were multiplied by.
        runs_once: the neurons fed by the part that is the same at every step; empty where the image is repeated instead.
        remarks: what to know before the network is used.
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
    "no batch norm takes in that spikes are of height 1: biases stay as large as in the ANN, so finetune, or convert with "
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
    """A spiking network with the weights of ``ann`` and calibrated, trainable thresholds, in the mode of ``ann``.

    Arguments:
        ann: any module of ReLU, convolutions, linears, norms, average pools, additions, concatenations, reshapes; untouched.
        data: batches of inputs, as the signal shows them, from a list or a ``DataLoader``, or samples as `as_samples` takes
            them; the first ``limit`` batches calibrate.
        dynamics: of the result; timesteps: its number of time steps, where no more of the dynamics is to be said.
        scale: factor on all calibrated thresholds; below 1 lowers latency.
        percentile, calibration_timesteps: see `calibrate`.
        batch_norm: ``"reestimate"`` finds running statistics on the batches at the target time steps; ``"reset"`` sets them
            to (0, 1), as published; ``"keep"`` leaves those of the ANN, takes percentiles of what its own layers receive as
            thresholds, and multiplies the weights behind by these. Then neurons with soft reset compute in many time steps
            what the ANN does, activations cut off at ``scale`` times the percentile.
        signal: `Constant` images, or `Frames` ``[N,T,C,H,W]``.
        granularity: one threshold per ``"layer"`` or per ``"channel"``.
        allow: ``{"max_pool"}`` admits max-pooling.
        on_layer: told each layer's name and threshold when it is found.

    Returns:
        The network; its ``conversion_report`` says what was done with every layer.

    Raises:
        ValueError: a layer that cannot be converted (named, with the remedy), arguments out of range, or inputs that are no
            floats in ``[0, 1]``.

    Activations of type `QCFS` have learned their thresholds and are not calibrated: convert those with ``scale=1``,
    ``batch_norm="keep"`` and neurons ``LIF(reset="subtract", start=0.5)``.

    Source: Ozdenizci & Legenstein 2024, section 4.
    """
    if not scale > 0:
        raise ValueError(f"scale must be greater than 0, not {scale}; 0.3 is the published one")
    if batch_norm not in get_args(BatchNorm):
        raise ValueError(f"batch_norm must be one of {', '.join(get_args(BatchNorm))}, not {batch_norm!r}")
    ann = unwrapped(ann)
    dynamics = dynamics if timesteps is None else replace(dynamics, timesteps=timesteps)
    if isinstance(ann, Spiking):
        raise ValueError(f"{type(ann).__name__} spikes already: net.replace(timesteps=...) changes how it runs")
    used = first_batches(data, limit, ann)
    takes(ann, signal.stills(used[0]))
    learned = {name: module.lifted.detach() for name, module in ann.named_modules() if isinstance(module, QCFS)}
    body, kept = copied(ann), dict[str, Tensor]()
    if batch_norm == "keep" and not learned:
        if granularity != "layer":
            raise ValueError("batch_norm='keep' gives all channels of a layer one threshold: use granularity='layer'")
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
    """The architecture of ``ann``, over its very tensors, as a spiking network with every threshold the same.

    Linear layers without a bias get a zero, trainable one. A dry run on a few of the ``images`` finds the firing order and the
    neurons that see the constant input; only where the result is proved equal does that part run once. Raises ValueError: a
    layer that cannot be converted, or a body that mixes the images of a batch.
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
            f"the traced body does not compute what {type(ann).__name__} does: an in-place operation changes a tensor that is "
            "read under another name (a view); use out-of-place operations"
        )


@torch.no_grad()
def _slots(body: nn.Module, images: Tensor) -> list[Slot]:
    """Firing order and first neurons, by a dry run at two time steps."""
    few = images[torch.arange(3) % len(images)]
    together = ValueError(
        f"{type(body).__name__} treats the images of a batch together (a fixed batch size or an operation over the batch), "
        "so time cannot be folded into it: make it act on every image alone"
    )
    plain = view(body).eval()
    try:
        once = plain(few)
        alone = torch.cat([plain(image[None]) for image in few])
    except RuntimeError as error:
        raise ValueError(
            f"{type(body).__name__} cannot run on the calibration images {list(few.shape)} "
            f"({one_line(error)}): give images as it was trained on, and let it take batches of any size"
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
                    """Where images come before time has begun, two time steps begin here."""
                    (x,) = given
                    reached.append(Slot(name, len(x) == len(few)))
                    return torch.cat([x, x]) if reached[-1].first else x

                module.register_forward_pre_hook(note)
        try:
            out = probed(torch.cat([few, few]) if at_input else few)
        except (RuntimeError, ValueError):  # parts with and without time do not fit together
            continue
        if out.shape == expected.shape and torch.allclose(out, expected, rtol=1e-4, atol=1e-5):
            return reached
    raise together


def renew(net: SpikingNetwork, batch_norm: BatchNorm, batches: Iterable[Tensor]) -> None:
    """Make of the running statistics that an ANN left in ``net`` what ``batch_norm`` says: see `convert`."""
    if batch_norm != "keep":
        reestimate(net, batches if batch_norm == "reestimate" else ())


@torch.no_grad()
def reestimate(net: SpikingNetwork, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch norm of ``net`` to their mean over the batches, at its own time steps; to
    (0, 1) where there are none."""

    def counting(_: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, _BatchNorm):
            return None
        module.reset_running_stats()
        fresh = view(module).train()
        fresh.momentum = None  # a plain mean of all batches
        return fresh

    fresh = rewire(view(net).eval(), counting)
    for images in batches:
        fresh(images)
