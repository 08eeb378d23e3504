"""Come in from other code: networks of SpikingJelly, of snnTorch and of one's own neurons as victims of every gradient path
and attack.

Another library is one more function: a `Library`, and how its networks are run, ``run(net, x, timesteps) -> [T,N,K]``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.spiking import ForeignNetwork, Library
from robustsnn.spiking.foreign import Run


def from_spikingjelly(net: nn.Module, timesteps: int, run: Run | None = None) -> ForeignNetwork:
    """A network of SpikingJelly's neurons as a classifier: pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``.

    Arguments:
        net: in single-step mode (``[N,...]`` a step) or multi-step mode (``[T,N,...]``); untouched. Normalisation belongs
            inside it.
        timesteps, run: for how many steps the image is shown, and how; ``lambda net, x, timesteps: net(x).unsqueeze(0)`` is
            for one that repeats the image and averages by itself.

    Raises:
        ValueError: no such neuron in the network.
    """
    return ForeignNetwork(net, timesteps, SPIKINGJELLY, run or _run_spikingjelly)


def from_snntorch(net: nn.Module, timesteps: int, run: Run | None = None) -> ForeignNetwork:
    """A network of snnTorch's neurons as a classifier: pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``.

    snnTorch lets no gradient through the reset, and so does no path here.

    Arguments:
        net: called once a step, with neurons that keep their state (``init_hidden=True``); untouched. Of several outputs the
            first one counts: the spikes. Normalisation belongs inside it.
        timesteps, run: for how many steps the image is shown, and how; ``lambda net, x, timesteps: net(x)[1]`` is for one
            that loops over time by itself and whose potentials count.

    Raises:
        ValueError: no such neuron in the network.
    """
    return ForeignNetwork(net, timesteps, SNNTORCH, run or _run_step_by_step)


def from_neurons(
    net: nn.Module, timesteps: int, spike: str = "spike", reset: str | None = "reset", run: Run | None = None
) -> ForeignNetwork:
    """A network of one's own neurons as a classifier: pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``.

    A neuron is a module that is called once a time step with its currents ``[N,...]`` and gives its spikes, of the same shape.
    It asks a function that it keeps in an attribute which potentials fire, and no other: gradient paths get in there. The
    reset is differentiated as the neuron writes it.

    Arguments:
        net: called once a step; untouched. Of several outputs the first one counts. Normalisation belongs inside it.
        timesteps, run: as for `from_spikingjelly`.
        spike: the attribute's name; its value takes how far potentials are above the threshold to spikes, 0 or 1. Having it
            makes a module a neuron.
        reset: the method by which modules forget, assigning new values and writing to no old ones; called on every module
            that has it before every run. None where nothing outlives a run.

    Raises:
        ValueError: no module with such an attribute, one whose value is no function, or no module with such a method.
    """
    for name, module in net.named_modules():
        if hasattr(module, spike) and not callable(getattr(module, spike)):
            raise ValueError(f"{spike!r} of neuron {name!r} is no function: name what makes spikes of potentials")
    if reset is not None and not any(hasattr(module, reset) for module in net.modules()):
        raise ValueError(
            f"no module of {type(net).__name__} has a method {reset!r}: name the one that forgets potentials, or give None "
            "where none outlives a run"
        )

    def forget(module: nn.Module) -> None:
        if reset is not None and hasattr(module, reset):
            getattr(module, reset)()

    def replace(neuron: nn.Module, fires: nn.Module, detach_reset: bool) -> None:
        neuron.__dict__[spike] = fires  # found before a method of the class and before a child
        asked: list[bool] = []

        def check(_: nn.Module, __: object, ___: object) -> None:
            if not asked:
                raise ValueError(
                    f"a {type(neuron).__name__} fires without asking its {spike!r}, so no gradient path gets into it: let "
                    f"it make its spikes by that function alone, how far potentials are above the threshold given"
                )

        fires.register_forward_pre_hook(lambda _, __: asked.append(True))
        neuron.register_forward_hook(check)

    own = Library("one's own", spike, forget, replace, lambda neuron: False)
    return ForeignNetwork(net, timesteps, own, run or _run_step_by_step)


def _run_spikingjelly(net: nn.Module, x: Tensor, timesteps: int) -> Tensor:
    if any(_multi_step(module) for module in net.modules()):
        logits: Tensor = net(x.expand(timesteps, *x.shape))
        return logits
    return torch.stack([net(x) for _ in range(timesteps)])


def _run_step_by_step(net: nn.Module, x: Tensor, timesteps: int) -> Tensor:
    outputs = [net(x) for _ in range(timesteps)]
    return torch.stack([output[0] if isinstance(output, tuple) else output for output in outputs])


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
            setattr(module, name, value.clone())  # `reset` may write to it, and it is the wrapped network's
    _call(module, "reset")


def _replace_spikingjelly(neuron: nn.Module, spike: nn.Module, detach_reset: bool) -> None:
    neuron.surrogate_function = spike
    if hasattr(neuron, "detach_reset"):
        neuron.__dict__["detach_reset"] = detach_reset


def _replace_snntorch(neuron: nn.Module, spike: nn.Module, detach_reset: bool) -> None:
    own: Any = neuron.spike_grad
    threshold: Any = neuron.threshold
    neuron.spike_grad = spike
    if hasattr(neuron, "mem_reset"):  # it spikes once more for the reset, at the potential of the step before

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
    lambda neuron: not hasattr(neuron, "reset_mem"),  # without state from step to step: all steps in parallel
)
