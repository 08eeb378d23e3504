"""Training diagnostics: non-finite losses, layers that never or always fire, narrow surrogates, catastrophic overfitting."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.compute.recall import graph_bytes
from robustsnn.history import Epoch
from robustsnn.seeds import randomness
from robustsnn.spiking import NeuronLayer, SpikingNetwork
from robustsnn.training.schedule import CatastrophicOverfitting

NEVER, ALWAYS = 1e-4, 0.99
"""Firing rates below and above which a layer carries no information about an image."""

NEAR = 0.3
"""A surrogate without gradient at this distance from the threshold, in units of the threshold, is narrow. A width of 0.4 to
0.5 thresholds kept robustness in training, a quarter lost it."""


@torch.no_grad()
@randomness("first not finite")
def first_not_finite(net: nn.Module, x: Tensor) -> str:
    """Return the first layer in forward order whose output or parameters are not finite; empty if all are finite."""
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
    """Return a warning with a remedy for the neuron layers that never or almost always fire on ``x [N,C,H,W]``."""
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
        lower = "lower conversion.scale, conversion.percentile or conversion.threshold (if set), or use more timesteps"
        warnings.append(f"{_layers(silent)} never fire (in fewer than {NEVER:.2%} of steps) and block all signals: {lower}")
    if busy:
        higher = "raise conversion.scale or conversion.threshold (if set)"
        warnings.append(f"{_layers(busy)} fire in over {ALWAYS:.0%} of steps and carry no information: {higher}")
    return warnings


def frozen(net: nn.Module) -> list[str]:
    """Return a warning if tensors other than those of neurons are frozen. Raises ValueError if all tensors are frozen."""
    tensors = list(net.parameters())
    if not any(tensor.requires_grad for tensor in tensors):
        raise ValueError(f"no tensor of {type(net).__name__} can be trained: call net.requires_grad_(True) first")
    of_neurons = {id(tensor) for module in net.modules() if isinstance(module, NeuronLayer) for tensor in module.parameters()}
    still = [name for name, tensor in net.named_parameters() if not tensor.requires_grad and id(tensor) not in of_neurons]
    remedy = "call requires_grad_(True) on tensors to train"
    return [f"{len(still)} of {len(tensors)} tensors (first: {still[0]!r}) are frozen: {remedy}"] if still else []


@torch.no_grad()
def narrow(net: nn.Module) -> list[str]:
    """Return a warning if the surrogate of a spiking network is narrow in units of its thresholds."""
    if not isinstance(net, SpikingNetwork) or not net.thresholds:
        return []
    surrogate, relative = net.dynamics.surrogate, net.dynamics.relative_surrogate
    thresholds = torch.cat([threshold.abs().flatten() for threshold in net.thresholds.values()])
    middle = thresholds.new_ones(()) if relative else thresholds.median()
    if float(surrogate(NEAR * middle)):
        return []
    return [
        f"{surrogate} has no gradient farther than {NEAR} thresholds from the threshold (median {float(middle):.3g}): attacks "
        "along it may break nothing, and training with them may lose robustness; use a wider surrogate, such as "
        f"'Triangle({float(middle) / 2:.2g})'"
    ]


def _layers(names: Sequence[str]) -> str:
    first, *more = names
    others = f" and {len(more)} more layer{'s' if len(more) > 1 else ''}" if more else ""
    return f"neurons at {first!r}{others}"


def overfitting(history: Sequence[Epoch]) -> str:
    """Return a warning if robust validation accuracy has just collapsed, else an empty text."""
    collapsed = CatastrophicOverfitting()
    if not collapsed(history) or (len(history) > 1 and collapsed(history[:-1])):
        return ""
    return (
        f"catastrophic overfitting: robust validation accuracy fell to {history[-1].robust:.1%}; the best epoch is kept. "
        "Use more attack steps, a smaller radius, or stop = 'CatastrophicOverfitting(drop=0.2)'"
    )


def not_finite(loss: float, net: nn.Module, x: Tensor, where: str, lr: float, state: Path | None) -> str:
    """Return what to say about a loss that is not finite."""
    layer = first_not_finite(net, x)
    found = f"; the first layer that is not finite is {layer!r}" if layer else ""
    kept = f"; the last good state is {state}" if state is not None and state.exists() else ""
    return f"the loss became {loss} at {where}{found}: lower the learning rate (now {lr:.4g}){kept}"


def exceeds(memory: int | None, net: nn.Module, few: Tensor, batch: int, say: Callable[[str], None]) -> bool:
    """Return whether the graphs of a training step need more memory, estimated on a few images ``[n, ...]``."""
    if memory is None:
        return False
    needed = 2 * graph_bytes(view(net).eval(), few.requires_grad_()) * batch // len(few)
    if needed > memory:
        say(f"graphs need {needed / 2**30:.2g} GiB, more than {memory / 2**30:.2g} GiB: recomputing activations")
    return needed > memory
