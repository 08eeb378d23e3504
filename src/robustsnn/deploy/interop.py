"""Import SpikingJelly, snnTorch and custom spiking networks, to attack them with every attack and gradient path.

To add a library, write a `Library` and a function that runs its networks, ``run(net, x, timesteps) -> [T,N,K]``.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.spiking import Constant, ForeignNetwork, Library, Signal
from robustsnn.spiking.foreign import Run


def from_spikingjelly(
    net: nn.Module, timesteps: int, run: Run | None = None, *, signal: Signal = Constant()
) -> ForeignNetwork:
    """Wrap a SpikingJelly network as a classifier: samples, such as pixels ``[N,C,H,W]`` in ``[0, 1]``, to logits ``[N,K]``.

    Arguments:
        net: a network in single-step mode (``[N,...]`` per step) or multi-step mode (``[T,N,...]``). It is not changed.
            Normalisation must be part of it.
        timesteps: number of steps for which the image is shown.
        run: how to run it; ``lambda net, x, timesteps: net(x).unsqueeze(0)`` if it repeats the image and averages itself, or
            reads the frames itself.
        signal: what each step receives without ``run``: the image, or with ``Frames()`` one of the frames ``[N,T,C,H,W]``.

    Raises:
        ValueError: the network has no SpikingJelly neuron. Its first call raises one if it loops over time without ``run``.
    """
    return ForeignNetwork(net, timesteps, SPIKINGJELLY, run or partial(_run_spikingjelly, signal=signal))


def from_snntorch(net: nn.Module, timesteps: int, run: Run | None = None, *, signal: Signal = Constant()) -> ForeignNetwork:
    """Wrap an snnTorch network as a classifier: samples, such as pixels ``[N,C,H,W]`` in ``[0, 1]``, to logits ``[N,K]``.

    snnTorch detaches the reset, so no gradient path passes through it.

    Arguments:
        net: a network that is called once per step, with neurons that keep their state (``init_hidden=True``). It is not
            changed. Of several outputs, the first (spikes) is used. Normalisation must be part of it.
        timesteps: number of steps for which the image is shown.
        run: how to run it; ``lambda net, x, timesteps: net(x)[1]`` if it loops over time and its potentials are the logits.
        signal: as for `from_spikingjelly`.

    Raises:
        ValueError: as for `from_spikingjelly`.
    """
    return ForeignNetwork(net, timesteps, SNNTORCH, run or partial(_run_step_by_step, spike=SNNTORCH.spike, signal=signal))


def from_neurons(
    net: nn.Module,
    timesteps: int,
    spike: str = "spike",
    reset: str | None = "reset",
    run: Run | None = None,
    *,
    signal: Signal = Constant(),
) -> ForeignNetwork:
    """Wrap a network of custom neurons as a classifier: samples, such as pixels ``[N,C,H,W]`` in ``[0, 1]``, to logits
    ``[N,K]``.

    A neuron is a module that is called once per time step with currents ``[N,...]`` and returns spikes of the same shape. It
    must compute them only by the function in its attribute ``spike``, which gradient paths replace. The reset is
    differentiated as the neuron defines it.

    Arguments:
        net: a network that is called once per step. It is not changed. Of several outputs, the first is used. Normalisation
            must be part of it.
        timesteps, run, signal: as for `from_spikingjelly`.
        spike: name of the attribute, which makes a module a neuron; it maps distances above the threshold to spikes, 0 or 1.
        reset: name of the method that clears a module's state by assigning new values, not by writing to old ones. It is
            called before every run on every module that has it. None if no state survives a run.

    Raises:
        ValueError: no module has the attribute, its value is not a function, or no module has the method.
    """
    for name, module in net.named_modules():
        if hasattr(module, spike) and not callable(getattr(module, spike)):
            raise ValueError(f"{spike!r} of neuron {name!r} is not a function: name the attribute that computes spikes")
    if reset is not None and not any(hasattr(module, reset) for module in net.modules()):
        raise ValueError(
            f"no module of {type(net).__name__} has a method {reset!r}: name the method that resets the state, or pass None "
            f"if no state survives a run. A neuron is a module with the spike function in its attribute {spike!r}"
        )

    def forget(module: nn.Module) -> None:
        if reset is not None and hasattr(module, reset):
            getattr(module, reset)()

    def replace(neuron: nn.Module, fires: nn.Module, detach_reset: bool) -> None:
        neuron.__dict__[spike] = fires  # takes precedence over methods and child modules
        asked: list[bool] = []

        def check(_: nn.Module, __: object, ___: object) -> None:
            if not asked:
                raise ValueError(
                    f"{type(neuron).__name__} never called {spike!r}, so gradient paths cannot change its gradient: compute "
                    f"spikes only as self.{spike}(v - threshold)"
                )

        fires.register_forward_pre_hook(lambda _, __: asked.append(True))
        neuron.register_forward_hook(check)

    own = Library("your own", spike, forget, replace, lambda neuron: False)
    return ForeignNetwork(net, timesteps, own, run or partial(_run_step_by_step, spike=spike, signal=signal))


def _run_spikingjelly(net: nn.Module, x: Tensor, timesteps: int, signal: Signal) -> Tensor:
    if any(_multi_step(module) for module in net.modules()):
        logits: Tensor = _once(net, signal.sequence(x, timesteps), SPIKINGJELLY.spike, timesteps)
        return logits
    return _run_step_by_step(net, x, timesteps, SPIKINGJELLY.spike, signal)


def _run_step_by_step(net: nn.Module, x: Tensor, timesteps: int, spike: str, signal: Signal) -> Tensor:
    first, *others = signal.sequence(x, timesteps)
    outputs = [_once(net, first, spike), *map(net, others)]
    return torch.stack([output[0] if isinstance(output, tuple) else output for output in outputs])


def _once(net: nn.Module, x: Tensor, spike: str, steps: int = 1) -> Any:
    """Run ``steps`` time steps by one call. Raises ValueError if every neuron runs more often, in a loop of the network."""
    calls: Counter[nn.Module] = Counter()
    neurons = [module for module in net.modules() if hasattr(module, spike)]
    hooks = [neuron.register_forward_pre_hook(lambda called, _: calls.update([called])) for neuron in neurons]
    output = net(x)
    for hook in hooks:
        hook.remove()
    if calls and min(calls.values()) > steps:
        shown = "net(x)" if _of_steps(output) else "net(x).unsqueeze(0)"
        if isinstance(output, tuple):  # of spikes and potentials, the latter tell more
            shown = f"net(x)[{max((i for i, part in enumerate(output[:2]) if _of_steps(part)), default=1)}]"
        raise ValueError(
            f"{type(net).__name__} runs each neuron {min(calls.values())} times per call, not {steps}: it loops over time by "
            f"itself. Pass timesteps={min(calls.values())} and run=lambda net, x, timesteps: {shown}"
        )
    return output


def _of_steps(output: object) -> bool:
    """Return whether these are logits ``[T,N,K]``."""
    return isinstance(output, Tensor) and output.dim() == 3


def _multi_step(module: nn.Module) -> bool:
    return getattr(module, "step_mode", "s") == "m"


def _call(module: nn.Module, method: str) -> None:
    found = getattr(module, method, None)
    if callable(found):
        found()


def _reset_spikingjelly(module: nn.Module) -> None:
    memories = getattr(module, "named_memories", None)
    for name, value in list(memories()) if callable(memories) else ():
        if isinstance(value, Tensor):
            setattr(module, name, value.clone())  # `reset` may write to it, but it belongs to the wrapped network
    _call(module, "reset")


def _replace_spikingjelly(neuron: nn.Module, spike: nn.Module, detach_reset: bool) -> None:
    neuron.surrogate_function = spike
    if hasattr(neuron, "detach_reset"):
        neuron.__dict__["detach_reset"] = detach_reset


def _replace_snntorch(neuron: nn.Module, spike: nn.Module, detach_reset: bool) -> None:
    own: Any = neuron.spike_grad
    threshold: Any = neuron.threshold
    neuron.spike_grad = spike
    if hasattr(neuron, "mem_reset"):  # computes a second spike for the reset, from the previous step's potential

        def reset(potential: Tensor) -> Tensor:
            with torch.no_grad():
                spikes: Tensor = own(potential - threshold)
            return spikes

        neuron.__dict__["mem_reset"] = reset


SPIKINGJELLY = Library("SpikingJelly", "surrogate_function", _reset_spikingjelly, _replace_spikingjelly, _multi_step)
SNNTORCH = Library(
    "snnTorch",
    "spike_grad",
    lambda module: _call(module, "reset_mem"),
    _replace_snntorch,
    lambda neuron: not hasattr(neuron, "reset_mem"),  # stateless neurons run all steps in parallel
)
