"""How each simulator reads NIR, and how a network's layers are converted accordingly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robustsnn.deploy.layers import Array, Channelwise, Dense, Fire, Layer, Layers, Pool, absorb, readers

DT = 1e-4
"""Seconds per time step: the value that snnTorch, which is not told, assumes."""
ENDLESS = 2.0**60  # time constant in time steps of a potential that must not leak


@dataclass(frozen=True)
class Neurons:
    """The parameters of a NIR node ``IF``, or ``LIF`` if ``tau`` is given; all but the threshold are shared by the layer."""

    threshold: Array
    r: float
    tau: Array | None = None


def continuous(fire: Fire) -> Neurons:
    """Return the parameters by NIR's equations: one Euler step is ``v <- leak * v + input``."""
    if fire.leak == 1:
        return Neurons(fire.threshold, 1 / DT)
    tau = time_constant(fire.leak, fire.threshold.dtype.type)
    return Neurons(fire.threshold, float(tau / DT), tau)


def always_leaky(fire: Fire) -> Neurons:
    """Return the parameters without ``IF``, which snnTorch reads as neurons with a leak of 0.9."""
    if fire.leak < 1:
        return continuous(fire)
    return Neurons(fire.threshold, ENDLESS, np.asarray(DT * ENDLESS, fire.threshold.dtype))


def no_resistance(fire: Fire) -> Neurons:
    """Return parameters with ``r = 1``: ``IF`` sums its input; ``LIF`` scales potential and threshold by ``1 - leak``."""
    if fire.leak == 1:
        return Neurons(fire.threshold, 1.0)
    kept = fire.threshold.dtype.type(fire.leak)
    return Neurons(np.asarray((1 - kept) * fire.threshold), 1.0, time_constant(fire.leak, fire.threshold.dtype.type))


def time_constant(leak: float, dtype: Any) -> Array:
    """Return the ``tau`` for which ``1 - DT / tau``, computed as importers do, is closest to ``leak``."""
    middle = dtype(DT / (1 - leak))
    near = [np.nextafter(middle, dtype(end)) for end in (0.0, np.inf)]
    return np.asarray(min([middle, *near], key=lambda tau: abs(float(1 - DT / tau) - leak)))


@dataclass(frozen=True)
class Target:
    """How a simulator reads NIR.

    Arguments:
        label: name of the simulator.
        resets: supported resets, as in `LIF`.
        neurons: how it reads the parameters of ``IF`` and ``LIF``.
        above: whether neurons fire above the threshold instead of at it.
        uniform: whether all neurons of a layer must share one threshold.
        scale: whether it reads ``Scale``.
        averages: whether it reads ``AvgPool2d``; otherwise ``SumPool2d``.
        leaky: whether its ``LIF`` can express the network's leak.
        branches: whether a layer waits for all branches that it sums.
        remarks: other differences from the network, in words.
    """

    label: str
    resets: Sequence[str] = ("zero",)
    neurons: Callable[[Fire], Neurons] = continuous
    above: bool = True
    uniform: bool = False
    scale: bool = False
    averages: bool = True
    leaky: bool = True
    branches: bool = True
    remarks: tuple[str, ...] = ()


TARGETS: dict[str, Target] = {
    "generic": Target("NIR", resets=("zero", "subtract"), scale=True),
    "snntorch": Target("snnTorch", neurons=always_leaky, uniform=True),
    "spikingjelly": Target("SpikingJelly", above=False, uniform=True),
    "norse": Target("norse", neurons=no_resistance, averages=False, branches=False),
    "sinabs": Target(
        "sinabs",
        resets=("subtract",),
        neurons=no_resistance,
        above=False,
        averages=False,
        leaky=False,
        branches=False,
        remarks=(
            "potentials: sinabs keeps them above minus the threshold",
            "spikes: sinabs fires several times in a step if the potential is several thresholds high",
        ),
    ),
    "lava": Target("Lava", averages=False, remarks=("untested: no Lava importer is released as a package",)),
}
"""Simulators by name, for these releases: snnTorch 1.0.0, SpikingJelly 2.0.0, norse 1.1.0, sinabs 3.1.3."""


def fit(layers: Layers, target: Target) -> tuple[dict[str, Layer], tuple[str, ...]]:
    """Convert layers for a simulator; return them and all differences. Raises ValueError if it lacks such neurons or sums."""
    remarks = ["rounding: norms and branch weights are folded into weights, and sums have another order"]
    fitted = dict(layers)
    if not target.branches and (sums := [name for name, layer in layers.items() if len(layer.inputs) > 1]):
        raise ValueError(
            f"layer {sums[0]!r} sums branches, but {target.label} does not wait for all of them: "
            "export for generic, snntorch or spikingjelly"
        )
    thresholds = {name: layer.what.threshold for name, layer in layers.items() if isinstance(layer.what, Fire)}
    if target.uniform and (mixed := [name for name, values in thresholds.items() if np.unique(values).size > 1]):
        remarks.append(f"thresholds: one per layer; {', '.join(mixed)} have their input weights divided by the thresholds")
        fitted = _with_one_threshold(fitted, mixed)
    if not target.averages and any(isinstance(layer.what, Pool) for layer in layers.values()):
        remarks.append(f"pools: {target.label} sums, and adjacent weights divide")
        fitted = _with_sums(fitted)
    for name, layer in fitted.items():
        if not isinstance(layer.what, Fire):
            continue
        if layer.what.leak < 1 and not target.leaky:
            raise ValueError(f"neurons {name!r} leak, but {target.label} reads another leak from NIR: use leak = 1")
        if not 0 < layer.what.leak <= 1:
            raise ValueError(
                f"neurons {name!r} have leak {layer.what.leak:.4g}: finetune with leaks in (0, 1], which NIR requires"
            )
        if (tau := target.neurons(layer.what).tau) is not None and float(1 - DT / tau) != layer.what.leak:
            remarks.append(f"leak: {name} keeps {float(1 - DT / tau):.9g} instead of {layer.what.leak:.9g}")
    if target.above:
        remarks.append(f"thresholds: one unit in the last place lower, because {target.label} fires above them, not at them")
    return absorb(fitted), (*remarks, *target.remarks)


def lowered(threshold: Array) -> Array:
    """Return the next number below; a value above it is at or above the threshold."""
    return np.asarray(np.nextafter(threshold, threshold.dtype.type(-np.inf)))


def _with_one_threshold(layers: Layers, mixed: Sequence[str]) -> dict[str, Layer]:
    """Set thresholds to 1 and divide the neurons' inputs by the old thresholds."""
    left: dict[str, Layer] = {}
    for name, layer in layers.items():
        if name in mixed and isinstance(what := layer.what, Fire):
            if what.threshold.size != layer.gives[0] or not (what.threshold > 0).all():
                raise ValueError(f"neurons {name!r} need one positive threshold, or one per channel, for this target")
            scale = 1 / what.threshold.reshape(-1)
            divided = tuple(f"{name}_from_{source}" for source in layer.inputs)
            for source, new in zip(layer.inputs, divided, strict=True):
                left[new] = Layer(Channelwise(scale, np.zeros_like(scale)), (source,), layer.gives)
            layer = replace(layer, what=replace(what, threshold=np.ones((), scale.dtype)), inputs=divided)
        left[name] = layer
    return left


def _with_sums(layers: Layers) -> dict[str, Layer]:
    left: dict[str, Layer] = {}
    renamed: dict[str, str] = {}
    like = next(layer.what.bias for layer in layers.values() if isinstance(layer.what, Dense))
    for name, layer in layers.items():
        layer = replace(layer, inputs=tuple(renamed.get(source, source) for source in layer.inputs))
        left[name] = layer
        if isinstance(layer.what, Pool) and readers(layers, name):
            left[name] = replace(layer, what=replace(layer.what, sums=True))
            channels = layer.gives[0]
            share = np.full(channels, 1 / (layer.what.kernel[0] * layer.what.kernel[1]), like.dtype)
            renamed[name] = f"{name}_mean"
            left[renamed[name]] = Layer(Channelwise(share, np.zeros_like(share)), (name,), layer.gives)
    return left
