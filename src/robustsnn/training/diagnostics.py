"""Watchdogs: where a loss stopped being a number, layers that never or always fire, and robustness that suddenly is gone."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.history import Epoch
from robustsnn.seeds import randomness
from robustsnn.spiking import NeuronLayer, SpikingNetwork
from robustsnn.training.schedule import CatastrophicOverfitting

NEVER, ALWAYS = 1e-4, 0.99
"""Shares of possible spikes below and above which a layer says nothing about an image."""


@torch.no_grad()
@randomness("first not finite")
def first_not_finite(net: nn.Module, x: Tensor) -> str:
    """The first layer, in the order of the forward pass, whose output or parameters are not finite; empty if there is none."""
    found, fresh = list[str](), view(net)

    def look(name: str, layer: nn.Module, _: object, output: object) -> None:
        values = [*layer.parameters(), *([output] if isinstance(output, Tensor) else [])]
        if not all(value.isfinite().all() for value in values):
            found.append(name)

    for name, module in fresh.named_modules():
        if not module._modules:
            module.register_forward_hook(partial(look, name))
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    fresh(x)
    for buffer, before in buffers:
        buffer.copy_(before)
    return found[0] if found else ""


@torch.no_grad()
def idle_layers(net: nn.Module, x: Tensor) -> list[str]:
    """A warning with its remedy for every layer of neurons that fires never, or at nearly every step, on ``x [N,C,H,W]``."""
    if not isinstance(net, SpikingNetwork):
        return []
    rates: dict[str, float] = {}
    fresh = view(net).eval()
    assert isinstance(fresh, SpikingNetwork)
    for name, neuron in fresh.neurons.items():
        neuron.register_forward_hook(lambda _, __, spikes, name=name: rates.__setitem__(name, float(spikes.mean())))
    fresh(x)
    silent = [name for name, rate in rates.items() if rate < NEVER]
    busy = [name for name, rate in rates.items() if rate > ALWAYS]
    warnings = []
    if silent:
        lower = "lower conversion.scale, conversion.percentile or, where it is given, conversion.threshold, or more timesteps"
        warnings.append(f"{_layers(silent)} never fire (in fewer than {NEVER:.2%} of steps), so nothing passes: {lower}")
    if busy:
        higher = "raise conversion.scale or, where it is given, conversion.threshold"
        warnings.append(f"{_layers(busy)} fire in over {ALWAYS:.0%} of steps, so all images look alike: {higher}")
    return warnings


def frozen(net: nn.Module) -> list[str]:
    """A warning where tensors other than those of neurons are not trained. Raises ValueError: no tensor at all is."""
    tensors = list(net.parameters())
    if not any(tensor.requires_grad for tensor in tensors):
        raise ValueError(f"no tensor of {type(net).__name__} can be trained: call net.requires_grad_(True)")
    of_neurons = {id(tensor) for module in net.modules() if isinstance(module, NeuronLayer) for tensor in module.parameters()}
    still = [name for name, tensor in net.named_parameters() if not tensor.requires_grad and id(tensor) not in of_neurons]
    remedy = "call requires_grad_(True) on what is to be trained"
    return [f"{len(still)} of {len(tensors)} tensors, {still[0]!r} first, are frozen: {remedy}"] if still else []


def _layers(names: Sequence[str]) -> str:
    first, *more = names
    others = f" and {len(more)} more layer{'s' if len(more) > 1 else ''}" if more else ""
    return f"neurons at {first!r}{others}"


def overfitting(history: Sequence[Epoch]) -> str:
    """A warning where robust validation accuracy has just collapsed; else empty."""
    collapsed = CatastrophicOverfitting()
    if not collapsed(history) or (len(history) > 1 and collapsed(history[:-1])):
        return ""
    return (
        f"catastrophic overfitting: robust validation accuracy fell to {history[-1].robust:.1%}; the best epoch is kept; "
        "use more attack steps, a smaller radius, or stop = 'CatastrophicOverfitting(drop=0.2)'"
    )
